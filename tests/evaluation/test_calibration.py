"""Calibration measures by hand and against scikit-learn; temperatures against a search of a grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from unspool.evaluation.calibration import brier_score, calibration, calibration_error
from unspool.tasks.calibration import temperature


def test_the_error_by_hand():
    shares = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([1, 1, 1, 0, 1, 0, 1])
    # ten bins: of 0.95 and 1.0, five rows with a mean of 0.96, 4 right; of 0.55 two rows, 1 right
    assert calibration_error(shares, right, 10) == pytest.approx(
        (5 * abs(0.96 - 0.8) + 2 * abs(0.55 - 0.5)) / 7
    )


def test_the_brier_score_is_scikit_learns():
    random = np.random.default_rng(0)
    shares, y = random.dirichlet(np.ones(4), 60), random.integers(0, 4, 60)
    expected = brier_score_loss(y, shares, labels=[0, 1, 2, 3], scale_by_half=False)
    assert calibration(shares, y)["brier"] == pytest.approx(expected)
    yes = (random.random((60, 1)) < shares[:, :1]).astype(float)
    expected = brier_score_loss(yes[:, 0], shares[:, 0], scale_by_half=True)
    assert brier_score(shares[:, :1], yes) == pytest.approx(expected)


def test_of_classes_the_error_is_of_the_most_probable():
    shares, y = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]), np.array([0, 1, 0])
    # one bin of two rows at .9 of which one is right, one of a row at .8 that is wrong
    assert calibration(shares, y)["ece"] == pytest.approx((2 * 0.4 + 0.8) / 3)
    hot = np.array([[1.0, 0], [0, 1], [1, 0]])
    # of labels by their own shares: .9 twice, half of them right, .1 twice, half; .2 right, .8 wrong
    assert calibration(shares, hot)["ece"] == pytest.approx((2 * 0.4 + 2 * 0.4 + 0.8 + 0.8) / 6)


def test_a_class_that_the_model_has_not_is_an_error_of_its_own():
    shares = np.array([[0.8, 0.2], [0.8, 0.2]])
    assert calibration(shares, np.array([0, -1]))["brier"] == pytest.approx((0.08 + 1 + 0.68) / 2)


@pytest.mark.parametrize("sharper", [0.3, 1.0, 2.5])
def test_the_temperature_has_the_least_cross_entropy(sharper):
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (800, 3))
    y = (softmax(logits, 1).cumsum(1) < random.random((800, 1))).sum(1)
    found = temperature(sharper * logits, y)
    assert found == pytest.approx(sharper, rel=0.15)
    grid = found * np.array([0.98, 1.0, 1.02])
    losses = [log_loss(y, softmax(sharper * logits / t, 1)) for t in grid]
    assert losses[1] == min(losses)


def test_of_labels_and_of_few_rows():
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (900, 2))
    y = (random.random((900, 2)) < 1 / (1 + np.exp(-logits))).astype(float)
    assert temperature(3 * logits, y) == pytest.approx(3, rel=0.15)
    assert temperature(3 * logits[:19], y[:19]) == 1.0
