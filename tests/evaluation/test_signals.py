"""The summaries of series and recordings, by hand, and the baselines on them."""

from __future__ import annotations

import numpy as np
import pytest

from unspool.evaluation.signals import log_spectra, signal_baselines, summary
from unspool.signals import Sound


def test_a_summary_by_hand() -> None:
    series = np.array([[1.0, 5.0], [4.0, np.nan], [1.0, 7.0]])
    found = summary([series, np.zeros((0, 2)), np.array([[2.0, np.nan]])])
    wanted = [2, 6, np.sqrt(2), np.sqrt(2 / 3), 1, 5, 4, 7, 1, 5, 1, 7, 3, 1, 0, 1 / 3, 3]
    np.testing.assert_allclose(found[0], wanted)
    assert (found[1] == 0).all() and np.isfinite(found[2]).all()


def test_a_recording_is_summarised_in_parts_of_its_time() -> None:
    t = np.arange(8000) / 8000
    rising = Sound(np.sin(2 * np.pi * (300 * t + 1500 * t**2)), 8000)
    found = log_spectra([rising, Sound(rising.samples * 0.1, 8000), Sound(rising.samples[:50], 8000)])
    assert found.shape == (3, 400)
    loudest = found[0].reshape(10, 40).argmax(1)
    assert (np.diff(loudest) >= 0).all() and loudest[-1] > loudest[0] + 10
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_baselines_learn_what_a_summary_tells(scale: float) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = [scale * (rng.normal(size=(int(rng.integers(3, 9)), 1)) + 3 * label) for label in y]
    simple, linear = signal_baselines("series", X, y, has_classes=True)
    assert (simple.predict(X) == y).mean() == 0.5 and (linear.predict(X) == y).mean() > 0.95
    np.testing.assert_allclose(linear.predict_proba(X).sum(1), 1)
    numbers = np.array([x.mean() for x in X])
    mean, ridge = signal_baselines("series", X, numbers, has_classes=False)
    assert mean.predict(X)[0] == pytest.approx(numbers.mean())
    assert np.corrcoef(ridge.predict(X), numbers)[0, 1] > 0.99


def test_a_class_of_one_row_needs_no_folds() -> None:
    X = [np.ones((2, 1)), np.zeros((2, 1)), np.zeros((2, 1))]
    _, linear = signal_baselines("series", X, np.array(["a", "b", "b"]), has_classes=True)
    assert linear.settings == {"C": 1.0}
