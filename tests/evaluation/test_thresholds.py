"""Thresholds of labels, against every cut there is."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from unspool.evaluation.thresholds import best_thresholds


def test_no_cut_has_a_larger_f1():
    random = np.random.default_rng(0)
    for _ in range(30):
        share = random.choice(np.linspace(0.05, 0.95, 12), (60, 1))
        true = (random.random((60, 1)) < share * 0.7).astype(int)
        if not 5 <= true.sum() <= 55:
            continue
        found = best_thresholds(share, true)[0]
        cuts = [0.0, *np.unique(share), 1.0]
        best = max(f1_score(true, share >= cut, zero_division=0) for cut in cuts)
        assert f1_score(true, share >= found) == best


def test_of_equal_ones_the_nearest_to_a_half():
    share = np.array([0.9] * 6 + [0.8] * 0 + [0.2] * 4 + [0.1] * 5)[:, None]
    true = np.array([1] * 6 + [0] * 9)[:, None]
    np.testing.assert_allclose(best_thresholds(share, true), [0.55])  # between .9 and .2 all are as good


def test_few_rows_choose_nothing():
    share = np.linspace(0, 1, 20)[:, None]
    few, all_but_few = np.zeros((20, 1)), np.ones((20, 1))
    few[:4], all_but_few[:4] = 1, 0
    assert best_thresholds(share, few).tolist() == best_thresholds(share, all_but_few).tolist() == [0.5]
