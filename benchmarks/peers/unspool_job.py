"""unspool's own estimator. "ids": the word ids of every other tool; "text": raw texts, its own encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import unspool
from peers.data import MAX_WORDS, Part, SeedData


def regressor(seed: int, epochs: int, **settings: Any) -> unspool.SequenceRegressor:
    return unspool.SequenceRegressor(
        cell="lstm",
        hidden_size=256,
        bidirectional=True,
        embedding_dim=256,
        max_words=MAX_WORDS,
        dense=(256,),
        epochs=epochs,
        batch_size=16,
        learning_rate=1e-3,
        patience=3,
        gradient_clip=None,
        random_state=seed,
        **settings,
    )


def inputs(part: Part, variant: str) -> Any:
    return part.texts if variant == "text" else unspool.Ragged.from_list(part.ids)


def quality(data: SeedData, seed: int, max_epochs: int, variant: str) -> dict[str, Any]:
    """The estimator scales the target itself."""
    model = regressor(seed, max_epochs)
    dev = (inputs(data.dev, variant), data.dev.score)
    model.fit(inputs(data.train, variant), data.train.score, validation_data=dev)
    return {
        "prediction": model.predict(inputs(data.test, variant)),
        "validation_loss": [epoch["validation_loss"] for epoch in model.history_],
        "train_seconds": [epoch["train_seconds"] for epoch in model.history_],
    }


def speed(data: SeedData, part: Part, seed: int, variant: str) -> Callable[[], float]:
    """Each call fits for two passes over `part` and returns the seconds of the second."""
    x = inputs(part, variant)
    validation = (x[:16], part.score[:16])

    def one_pass() -> float:
        model = regressor(seed, epochs=2, verbose=0)
        model.fit(x, part.score, validation_data=validation)
        return model.history_[-1]["train_seconds"]

    one_pass()
    return one_pass
