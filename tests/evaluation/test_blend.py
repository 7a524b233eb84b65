"""Blends: against least squares and a grid; what is good for nothing gets no weight."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from unspool.errors import DataError
from unspool.evaluation.blend import blend_logits, blend_numbers

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.normal(size=(400, 2)) * [1, 30] + [5, -100]
NOISY = TRUTH + RANDOM.normal(size=(400, 2)) * [0.5, 15]
NOISIER = TRUTH + RANDOM.normal(size=(400, 2)) * [1.0, 30]


def test_numbers_are_the_least_squares_of_each_target():
    error = lambda p: ((p - TRUTH) ** 2).mean(0)  # noqa: E731
    blend = blend_numbers(NOISY, NOISIER, TRUTH)
    grid = np.linspace(0, 1, 201)
    errors = np.stack([error(w * NOISY + (1 - w) * NOISIER) for w in grid])
    best = grid[errors.argmin(0)]
    assert (best - 0.08 < blend.first).all()
    assert (blend.first < best).all()
    np.testing.assert_allclose(blend.second, 1 - blend.first)
    assert (error(blend(NOISY, NOISIER)) < np.minimum(error(NOISY), error(NOISIER))).all()
    assert 0.6 < blend.share < 0.95


def test_what_few_rows_say_by_chance_brings_no_network_in():
    chances = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        y = random.normal(size=(20, 1))
        linear, network = y + random.normal(size=(20, 1)), random.normal(size=(20, 1))
        chances.append(blend_numbers(network, linear, y).first[0])
    assert np.mean(np.array(chances) < 0.35) > 0.8
    y = np.array([0, 1])
    logits = blend_logits(np.eye(2) * 9, np.eye(2)[::-1] * 9, y)
    assert logits.first[0] < 0.7


def test_weights_count_as_rows():
    weight = np.r_[np.ones(200), np.full(100, 2.0), np.zeros(100)]
    rows = np.repeat(np.arange(400), weight.astype(int))
    a, b = (
        blend_numbers(NOISY, NOISIER, TRUTH, weight),
        blend_numbers(NOISY[rows], NOISIER[rows], TRUTH[rows]),
    )
    assert a.first == pytest.approx(b.first)


@pytest.mark.parametrize("order", [1, -1])
def test_noise_gets_no_weight(order):
    useless = TRUTH.mean(0) - 0.5 * (TRUTH - TRUTH.mean(0)) + RANDOM.normal(size=(400, 2)) * [2, 60]
    pair = [NOISY, useless][::order]
    blend = blend_numbers(*pair, TRUTH)
    assert blend.share == pytest.approx(1.0 if order == 1 else 0.0, abs=0.1)


def test_logits_are_the_best_of_a_grid():
    y = RANDOM.integers(0, 3, 500)
    strong = np.eye(3)[y] * 1.5 + RANDOM.normal(size=(500, 3))
    weak = np.eye(3)[y] * 1.0 + RANDOM.normal(size=(500, 3)) * 2
    blend = blend_logits(strong, weak, y)
    found = log_loss(y, softmax(blend(log_softmax(strong, 1), log_softmax(weak, 1)), 1))
    grid = [
        log_loss(y, softmax(a * log_softmax(strong, 1) + b * log_softmax(weak, 1), 1))
        for a in np.arange(0, 4, 0.1)
        for b in np.arange(0, 4, 0.1)
    ]
    assert found == pytest.approx(min(grid), abs=2e-3)
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
    assert blend_numbers(flat, flat, flat + 3)(flat, flat + 2) == pytest.approx(flat + 2)
    assert np.isfinite(blend_logits(flat[:, [0, 0]], flat[:, [0, 0]], np.zeros(9, int)).share)
