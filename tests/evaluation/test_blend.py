"""Blends: against least squares and a grid; what is good for nothing gets no weight."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss

from unspool.errors import DataError
from unspool.evaluation.blend import blend_logits, blend_numbers

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=(400, 2)) * [1, 30] + [5, -100]
NOISY = TRUTH + RANDOM.normal(size=(400, 2)) * [0.5, 15]
NOISIER = TRUTH + RANDOM.normal(size=(400, 2)) * [1.0, 30]


def test_numbers_are_the_least_squares_of_each_target():
    blend = blend_numbers(NOISY, NOISIER, TRUTH)
    for k in range(2):
        both = np.stack([NOISY[:, k], NOISIER[:, k]], 1)
        theirs = LinearRegression(positive=True).fit(both, TRUTH[:, k])
        assert [blend.first[k], blend.second[k]] == pytest.approx(theirs.coef_)
        assert blend(NOISY, NOISIER)[:, k] == pytest.approx(theirs.predict(both))
    error = lambda p: ((p - TRUTH) ** 2).mean(0)  # noqa: E731
    assert (error(blend(NOISY, NOISIER)) < np.minimum(error(NOISY), error(NOISIER))).all()
    assert 0.6 < blend.share < 0.95


def test_weights_count_as_rows():
    weight = np.r_[np.ones(200), np.full(100, 2.0), np.zeros(100)]
    rows = np.repeat(np.arange(400), weight.astype(int))
    a, b = (
        blend_numbers(NOISY, NOISIER, TRUTH, weight),
        blend_numbers(NOISY[rows], NOISIER[rows], TRUTH[rows]),
    )
    assert a.first == pytest.approx(b.first)
    assert a.bias == pytest.approx(b.bias)


@pytest.mark.parametrize("order", [1, -1])
def test_noise_gets_no_weight(order):
    useless = RANDOM.normal(size=(400, 2)) - 0.1 * TRUTH
    pair = [NOISY, useless][::order]
    blend = blend_numbers(*pair, TRUTH)
    assert blend.share == pytest.approx(1.0 if order == 1 else 0.0, abs=0.01)


def test_logits_are_the_best_of_a_grid():
    y = RANDOM.integers(0, 3, 500)
    strong = np.eye(3)[y] * 1.5 + RANDOM.normal(size=(500, 3))
    weak = np.eye(3)[y] * 1.0 + RANDOM.normal(size=(500, 3)) * 2
    blend = blend_logits(strong, weak, y)
    found = log_loss(y, softmax(blend(log_softmax(strong, 1), log_softmax(weak, 1)), 1))
    grid = [
        log_loss(y, softmax(a * log_softmax(strong, 1) + b * log_softmax(weak, 1), 1))
        for a in np.arange(0, 4, 0.05)
        for b in np.arange(0, 4, 0.05)
    ]
    assert found == pytest.approx(min(grid), abs=1e-3)
    assert found <= min(grid) + 1e-6
    assert blend.first > blend.second > 0


def test_logits_of_noise_get_no_weight():
    y = RANDOM.integers(0, 2, 500)
    good = np.eye(2)[y] * 2 + RANDOM.normal(size=(500, 2))
    against = -0.5 * good + RANDOM.normal(size=(500, 2))
    assert blend_logits(good, against, y).share > 0.9
    assert blend_logits(against, good, y).share < 0.1


def test_it_is_json_and_needs_rows():
    blend = blend_numbers(NOISY, NOISIER, TRUTH)
    assert json.loads(json.dumps(blend.to_dict()))["share"] == blend.share
    with pytest.raises(DataError, match=r"two held-back rows or more\. Got 1\. Use blend=False"):
        blend_numbers(NOISY[:1], NOISY[:1], TRUTH[:1])


def test_constant_predictions_and_targets_are_borne():
    flat = np.zeros((9, 1))
    assert blend_numbers(flat, flat, flat + 3)(flat, flat) == pytest.approx(flat + 3)
    assert np.isfinite(blend_logits(flat[:, [0, 0]], flat[:, [0, 0]], np.zeros(9, int)).share)
