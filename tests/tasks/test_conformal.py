"""Intervals and sets that hold the true answer as often as asked."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.tasks.conformal import Scores

SMALL = {"hidden_size": 6, "embedding_dim": 5, "epochs": 3, "random_state": 0, "verbose": 0, "blend": False}
WORDS = [a + b for a in "bcdfgh" for b in ("an", "ol", "ir", "ut")]


def made(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts, and the share of their words that come early in the list, with noise."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, len(WORDS), random.integers(1, 9)) for _ in range(count)]
    y = np.array([np.mean(row < 8) for row in rows]) + random.normal(0, 0.2, count)
    return [" ".join(WORDS[i] for i in row) for row in rows], y


def test_the_limit_is_the_kth_smallest_score():
    random = np.random.default_rng(0)
    for count in (9, 19, 57, 200):
        scores = random.permutation(np.arange(1.0, count + 1))[:, None]
        for level in (10, 50, 90, 95):
            k = int(np.ceil((count + 1) * level / 100 - 1e-9))
            if k <= count:
                assert Scores.of(scores).limit(level) == [k]
    with pytest.raises(DataError, match=r"level=95 needs 19 held-back rows or more.*level 90 at most"):
        Scores.of(np.arange(9.0)[:, None]).limit(95)


def test_so_many_new_scores_are_within_it():
    random = np.random.default_rng(1)
    inside = [
        (random.exponential(size=50) <= Scores.of(random.exponential(size=(39, 1))).limit(90)).mean()
        for _ in range(400)
    ]
    assert 0.89 <= np.mean(inside) <= 0.915  # (n + 1) 90 / 100 of 40 is whole: exactly 90 % in the long run


@pytest.fixture(scope="module")
def numbers() -> SequenceRegressor:
    X, y = made(600, 0)
    target = np.stack([y, 100 * y], 1)
    return SequenceRegressor(**SMALL, validation_fraction=0.4).fit(X, target)


@pytest.mark.parametrize("level", [50, 90])
def test_intervals_hold_so_many_new_rows(numbers, level):
    X, y = made(1500, 1)
    found = numbers.predict(X, level=level)
    assert found.shape == (1500, 2, 3)
    np.testing.assert_allclose(found[..., 0], numbers.predict(X), rtol=1e-6)
    truth = np.stack([y, 100 * y], 1)
    inside = ((found[..., 1] <= truth) & (truth <= found[..., 2])).mean(0)
    assert np.abs(inside - level / 100).max() < 0.06
    columns = numbers.columns(X[:3], ["a", "b"], level=level)
    assert list(columns) == ["a", "b", "a_low", "a_high", "b_low", "b_high"]
    np.testing.assert_allclose(columns["b_high"], found[:3, 1, 2], rtol=1e-6)


@pytest.mark.parametrize("level", [50, 90])
def test_sets_hold_so_many_new_rows(level, tmp_path):
    X, y = made(600, 0)
    labels = np.digitize(y, [0.2, 0.4])
    model = SequenceClassifier(**SMALL, validation_fraction=0.4).fit(X, labels)
    new, truth = made(1500, 1)
    sets = model.predict(new, level=level)
    inside = sets[np.arange(1500), np.digitize(truth, [0.2, 0.4])].mean()
    assert level / 100 - 0.06 < inside and (level < 90 or inside < 0.96)
    assert sets.any(1).all() and sets[np.arange(1500), model.predict_proba(new).argmax(1)].all()
    model.save(tmp_path / "m.zip")
    np.testing.assert_array_equal(unspool.load(tmp_path / "m.zip").predict(new, level=level), sets)
    shown = model.columns(new[:5], level=level)["prediction_set"]
    assert shown.tolist() == ["|".join(np.array(["0", "1", "2"])[row]) for row in sets[:5]]


def test_limits_are_saved(numbers, tmp_path):
    numbers.save(tmp_path / "m")
    X, _ = made(20, 2)
    np.testing.assert_array_equal(
        unspool.load(tmp_path / "m").predict(X, level=80), numbers.predict(X, level=80)
    )
    file = tmp_path / "m" / "model.json"
    content = json.loads(file.read_text())
    content["target"]["limits"][3] = [1.0]
    file.write_text(json.dumps(content))
    with pytest.raises(ModelFileError):
        unspool.load(tmp_path / "m")


def test_what_cannot_be_said_says_why(numbers):
    X, y = made(60, 0)
    with pytest.raises(DataError, match="1 to 99"):
        numbers.predict(X, level=100)
    with pytest.raises(InvalidParameterError, match="level"):
        numbers.predict(X, level=0.9)
    alone = SequenceRegressor(**{**SMALL, "epochs": 1}, early_stopping=False).fit(X, y)
    with pytest.raises(DataError, match="this model has none"):
        alone.predict(X, level=90)
    several = SequenceClassifier(**{**SMALL, "epochs": 1}).fit(X, np.stack([y > 0.3, y > 0.1], 1).astype(int))
    with pytest.raises(DataError, match="no level for the task 'multilabel'"):
        several.predict(X, level=90)
