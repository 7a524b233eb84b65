"""Widths, merges, connections and noise through `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unspool import SequenceRegressor, explain_path

from .conftest import SMALL, make_texts

Texts = tuple[list[str], np.ndarray]


@pytest.mark.parametrize(
    "settings",
    [
        {"recurrent_dropout": 0.2, "input_dropout": 0.1, "bidirectional": True},
        {"zoneout": (0.05, 0.2), "weight_dropout": 0.2, "hidden_size": (12, 8)},
        {"bidirectional": True, "merge": "sum", "num_layers": 2, "pooling": "last+mean"},
        {"num_layers": 3, "connection": "residual", "cell": "gru", "pooling": "last"},
        {"num_layers": 2, "connection": "highway", "bidirectional": True, "pooling": "last+max"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_learns_and_predicts_the_same_alone_and_together(texts: Texts, settings: dict[str, Any]) -> None:
    X, y = texts
    model = SequenceRegressor(
        **{**SMALL, "epochs": 15, "dropout": 0.0, "input_dropout": 0.0, **settings}
    ).fit(X, y)
    fresh, truth = make_texts(100, seed=5)
    assert model.score(fresh, truth) > 0.8
    alone = np.concatenate([model.predict([x]) for x in fresh[:10]])
    np.testing.assert_allclose(model.predict(fresh)[:10], alone, rtol=1e-4)
    network = model.network_.train()
    assert explain_path(network.stack, network.embedding.weight[None, :5]) == "native"


def test_the_same_seed_draws_the_same_noise(texts: Texts) -> None:
    X, y = texts
    noisy = {**SMALL, "epochs": 2, "recurrent_dropout": 0.3, "zoneout": 0.1, "weight_dropout": 0.2}
    first, second = (SequenceRegressor(**noisy).fit(X, y) for _ in range(2))
    assert np.array_equal(first.predict(X), second.predict(X))
    assert np.array_equal(first.predict(X), first.predict(X))
    for name in ("recurrent_dropout", "zoneout", "weight_dropout"):
        other = SequenceRegressor(**{**noisy, name: 0.0}).fit(X, y)
        assert not np.array_equal(first.predict(X), other.predict(X))


def test_parameters_by_hand(texts: Texts) -> None:
    X, y = texts
    settings = {**SMALL, "epochs": 1, "hidden_size": (6, 6), "bidirectional": True, "connection": "highway"}
    model = SequenceRegressor(**settings).fit(X, y)
    # layers: 2 directions * 4 gates * 6 units * (inputs 8, then 12, + 6 states + 2 biases); highway 12 * 12 + 12
    parts = [32 * 8, 2 * 4 * 6 * (8 + 8), 2 * 4 * 6 * (12 + 8), 12 * 12 + 12, 12 + 1]
    assert model.n_parameters_ == sum(parts)
    for number in parts:
        assert f" {number:,}" in model.summary()
    assert "highway around 2" in model.summary()
