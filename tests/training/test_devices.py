"""Every estimator on another device than the CPU, which is pretended (`tests.pretend`), against itself on the CPU.

The device refuses tensors of the CPU, so that each of these tests also fails for one that was made without a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.pretend import There, pretended

import unspool
from unspool.errors import InvalidParameterError
from unspool.seq2seq import Seq2Seq

QUICK: dict[str, Any] = {"hidden_size": 3, "epochs": 1, "random_state": 0, "verbose": 0}
NOISE = {"input_dropout": 0.1, "recurrent_dropout": 0.1, "weight_dropout": 0.1, "zoneout": 0.1}
TEXTS = ["abcab", "bca", "cabcab", "a", "bcab", "", "cc", "abc"]
WEIGHTS = np.linspace(0.5, 1.5, len(TEXTS))


def generator(device: str) -> Any:
    settings = {"embedding_dim": 2, "num_layers": 2, "batch_size": 4, "chunk_length": 3, **NOISE, **QUICK}
    penalties = {"activation_penalty": 0.1, "temporal_penalty": 0.1, "embedding_dropout": 0.1}
    model = unspool.SequenceGenerator(**settings, **penalties, validation_fraction=0.3, device=device)
    return model.fit(TEXTS, sample_weight=WEIGHTS)


def pairs(device: str) -> Any:
    settings = {
        "embedding_dim": 2,
        "num_layers": 2,
        "batch_size": 4,
        "label_smoothing": 0.1,
        **NOISE,
        **QUICK,
    }
    judged = {"monitor": "metric", "validation_fraction": 0.3, "teacher_forcing": 0.5}
    model = Seq2Seq(**settings, **judged, teacher_forcing_schedule="constant", device=device)
    return model.fit(TEXTS, [text[::-1] for text in TEXTS], sample_weight=WEIGHTS)


def written(model: Any) -> Any:
    likely = [score for row in model.generate(TEXTS[:2], 2, 2, max_new_tokens=3) for _, score in row]
    return [
        model.columns(TEXTS, max_new_tokens=3)["log_probability_prediction"],
        model.log_probability(TEXTS, TEXTS),
        likely,
    ]


def table(steps: int = 24) -> pl.DataFrame:
    numbers = np.random.default_rng(0).normal(size=(3, 2 * steps))
    time, names = [*range(steps)] * 2, ["a"] * steps + ["b"] * steps
    columns = {"y": numbers[0].cumsum(), "price": numbers[1], "seen": numbers[2]}
    return pl.DataFrame({"unique_id": names, "ds": time, "kind": names, **columns})


def forecaster(model: str, loss: str, beside: bool = True) -> Callable[[str], Any]:
    def fitted(device: str) -> Any:
        sizes = {"horizon": 3, "input_size": 4, "segment_length": 2, "season": 2, "validation_size": 9}
        columns = {"future": ("price",), "past": ("seen",), "static": ("kind",)} if beside else {}
        settings = {**sizes, **columns, **QUICK, "refit": True, "device": device}
        made = unspool.Forecaster(model=model, loss=loss, **settings)
        return made.fit(table(), sample_weight={"a": 0.5, "b": 1.5})

    return fitted


def ahead(model: Any) -> Any:
    future = pl.DataFrame({"unique_id": ["a"] * 3 + ["b"] * 3, "ds": [24, 25, 26] * 2, "price": [0.5] * 6})
    future = future if model.future else None
    return model.predict(future=future, level=50).drop("unique_id", "ds").to_numpy()


def tagger(device: str) -> Any:
    words, tags = [list(text) for text in TEXTS], [["B-x"] * len(text) for text in TEXTS]
    model = unspool.SequenceTagger(embedding_dim=2, validation_fraction=0.3, **QUICK, device=device)
    return model.fit(words, tags, labels=["x", "y"] * 4, sample_weight=WEIGHTS)


def tagged(model: Any) -> Any:
    return np.concatenate(model.predict_proba([list(text) for text in TEXTS if text]))


def classifier(device: str) -> Any:
    settings = {
        "embedding_dim": 2,
        "blend": False,
        "validation_fraction": 0.3,
        "pooling": "attention",
        **QUICK,
    }
    model = unspool.SequenceClassifier(**settings, device=device, numeric=("n",), text_column="text")
    return model.fit({"text": TEXTS, "n": WEIGHTS}, ["x", "y"] * 4, sample_weight=WEIGHTS)


SEQ2SEQ, FORECASTING = "unspool.seq2seq.estimator", "unspool.forecasting.fitting"
CASES: dict[str, tuple[str, Callable[[str], Any], Callable[[Any], Any]]] = {
    "generator": ("unspool.generation.estimator", generator, lambda model: model.score(TEXTS)),
    "texts to texts": (SEQ2SEQ, pairs, written),
    "segments": (FORECASTING, forecaster("segments", "quantile"), ahead),
    "recurrent": (FORECASTING, forecaster("recurrent", "absolute"), ahead),
    "seq2seq": (FORECASTING, forecaster("seq2seq", "student_t", beside=False), ahead),
    "tagger": ("unspool.tagging.tagger", tagger, tagged),
    "classifier": (
        "unspool.estimators.base",
        classifier,
        lambda model: model.predict_proba({"text": TEXTS, "n": WEIGHTS}),
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_another_device_has_the_numbers_of_the_cpu(name: str) -> None:
    module, fitted, asked = CASES[name]
    plain = fitted("cpu")
    wanted = asked(plain)
    seen: list[bool] = []
    with pretended(module), pytest.MonkeyPatch.context() as patch:
        forward = type(plain.network_).forward
        patch.setattr(
            type(plain.network_),
            "forward",
            lambda self, *args, **given: (
                seen.append(isinstance(next(self.parameters()), There)) or forward(self, *args, **given)
            ),
        )
        model = fitted("cuda")
        found = asked(model)
    assert seen and all(seen)
    assert not any(isinstance(t, There) for t in model.network_.state_dict().values())
    np.testing.assert_allclose(model.history_[-1]["train_loss"], plain.history_[-1]["train_loss"], rtol=1e-5)
    for got, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidParameterError, match=r"'device'.*Got 'cuda'.*build of torch"):
        CASES[name][1]("cuda")
