"""The parameters of training that are None: what each kind of X gets, by hand, and that fit follows it."""

from __future__ import annotations

import numpy as np
import pytest

from unspool import SequenceClassifier, SequenceRegressor
from unspool.estimators.by_kind import Training, training_of

TEXTS = Training(20, 2e-3, "constant", True, 4)
SMALL = Training(100, 5e-3, "one_cycle", False, 20)
LARGE = Training(100, 2e-3, "constant", True, 20)


@pytest.mark.parametrize(
    ("kind", "rows", "has_classes", "validated", "wanted"),
    [
        ("text", 50, True, False, TEXTS),
        ("ids", 5000, False, False, TEXTS),
        ("series", 999, True, False, SMALL),
        ("audio", 50, True, False, SMALL),
        ("series", 1000, True, False, LARGE),
        ("series", 50, False, False, LARGE),
        ("audio", 50, True, True, LARGE),
    ],
)
def test_what_is_left_at_none(kind, rows, has_classes, validated, wanted) -> None:
    assert training_of(SequenceClassifier(), kind, rows, has_classes, validated) == wanted


def test_what_is_given_is_kept() -> None:
    model = SequenceClassifier(
        epochs=3, learning_rate=0.1, schedule="cosine", early_stopping=True, patience=9
    )
    assert training_of(model, "series", 50, True) == Training(3, 0.1, "cosine", True, 9)
    assert training_of(SequenceClassifier(early_stopping=True), "series", 50, True) == LARGE
    assert training_of(SequenceClassifier(schedule="constant"), "series", 50, True).learning_rate == 2e-3


def test_fit_follows_it() -> None:
    rng = np.random.default_rng(0)
    X, y = [rng.normal(size=(3, 1)) for _ in range(12)], np.arange(12) % 2
    model = SequenceClassifier(hidden_size=2, verbose=0, random_state=0).fit(X, y)
    assert len(model.history_) == 100 and "validation_loss" not in model.history_[0]
    assert model.history_[-1]["learning_rate"] < 1e-3 < max(row["learning_rate"] for row in model.history_)
    assert model.network_.head.layers[0].p == 0.3
    regressor = SequenceRegressor(hidden_size=2, epochs=1, verbose=0).fit(X, y)
    assert "validation_loss" in regressor.history_[0]
