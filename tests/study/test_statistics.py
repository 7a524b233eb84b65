"""The statistics of a study against scipy and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unspool.study.statistics import compare_with_best, estimate, holm, hopeless


def test_interval_and_p_are_those_of_a_t_test():
    x = np.random.default_rng(0).normal(0.3, 1, 7)
    got, expected = estimate(x), stats.ttest_1samp(x, 0)
    low, high = expected.confidence_interval(0.95)
    assert (got.low, got.high, got.p) == pytest.approx((low, high, expected.pvalue), rel=1e-12)
    assert (got.runs, got.mean, got.sd) == (7, pytest.approx(x.mean()), pytest.approx(np.std(x, ddof=1)))


def test_corrected_resampled_t_test_by_hand():
    # differences 1, 2, 3, 6: mean 3, deviations -2, -1, 0, 3, variance 14 / 3.
    # Five folds: ratio 1/4. se^2 = (1/4 + 1/4) * 14/3 = 7/3, t = 3 / sqrt(7/3) = 1.9640 with 3 degrees of
    # freedom; the plain t would be 3 / sqrt(14/12) = 2.7775. t(0.975, 3) = 3.18245.
    got = estimate([1.0, 2.0, 3.0, 6.0], ratio=0.25)
    assert got.high - got.mean == pytest.approx(3.18245 * np.sqrt(7 / 3), rel=1e-5)
    # P(|t| > x) with 3 degrees of freedom = 1 - 2/pi * (atan(u) + u / (1 + u^2)), u = x / sqrt(3) = 1.13389
    u = 3 / np.sqrt(7 / 3) / np.sqrt(3)
    assert got.p == pytest.approx(1 - 2 / np.pi * (np.arctan(u) + u / (1 + u**2)), rel=1e-9)
    assert got.p > estimate([1.0, 2.0, 3.0, 6.0]).p


def test_one_run_has_no_spread():
    got = estimate([0.5])
    assert (got.mean, got.sd, got.low, got.p) == (0.5, None, None, None)


def test_holm_by_hand():
    # sorted .01, .03, .04: times 3, 2, 1 = .03, .06, .04; the last is raised to .06
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert list(holm([0.6, 0.9])) == [1.0, 1.0]


def test_comparison_with_the_best_is_a_paired_test_corrected_over_all_pairs():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(3, 6)) + np.array([[2.0], [1.0], [0.0]]) + rng.normal(size=6)
    raw = {(i, j): stats.ttest_rel(scores[i], scores[j]).pvalue for i, j in [(1, 0), (2, 0), (2, 1)]}
    order = sorted(raw, key=raw.get)
    adjusted = np.maximum.accumulate([min(1, (3 - k) * raw[pair]) for k, pair in enumerate(order)])
    expected = dict(zip(order, adjusted))
    best, second, third = compare_with_best(scores, 0)
    assert best is None
    assert second.p == pytest.approx(expected[1, 0]) and third.p == pytest.approx(expected[2, 0])
    assert third.mean == pytest.approx((scores[2] - scores[0]).mean())
    # which row is the best makes no difference to a pair
    assert compare_with_best(scores, 2)[0].p == pytest.approx(third.p)


def test_a_difference_of_one_row_in_two_runs_is_no_proof():
    # 20 rows: 19 right against 18 in both runs. Without the step the variance is 0 and p is 0.
    scores = np.array([[0.95, 0.95], [0.90, 0.90]])
    assert compare_with_best(scores, 0)[1].p < 1e-6
    # floor (1/20)^2 / 6, se = sqrt(floor / 2) = 0.014434, t = 0.05 / se = 3.4641 = 2 sqrt(3), 1 degree of freedom:
    # p = 1 - 2/pi * atan(2 sqrt 3)
    p = compare_with_best(scores, 0, resolution=1 / 20)[1].p
    assert p == pytest.approx(1 - 2 / np.pi * np.arctan(2 * np.sqrt(3)))


def test_equal_arrangements_are_rarely_called_different():
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(150):
        scores = rng.normal(size=(6, 5))
        best = int(scores.mean(1).argmax())
        found = compare_with_best(scores, best)
        claims += any(r is not None and r.p < 0.05 for r in found)
    # at most 5 % expected: 7.5, and 15 is 2.8 standard deviations above
    assert claims <= 15


def test_dropping_two_arrangements_is_a_paired_t_test_at_one_percent():
    rng = np.random.default_rng(1)
    for gap in np.linspace(0, 4, 9):
        scores = rng.normal(size=(2, 5))
        scores[0] += gap
        p = stats.ttest_rel(*scores).pvalue
        assert bool(hopeless(scores)) == (p < 0.01)


def test_what_all_share_in_a_run_does_not_hide_a_hopeless_one():
    rng = np.random.default_rng(2)
    scores = rng.normal(scale=0.01, size=(5, 2)) + np.array([0.8, 0.8, 0.8, 0.8, 0.4])[:, None]
    assert hopeless(scores) == [4]
    assert hopeless(scores + np.array([0.0, 0.3])) == [4]
    assert hopeless(scores[:4]) == [] and hopeless(scores[:, :1]) == [] and hopeless(scores[:1]) == []
    # folds that share training rows: more is needed
    assert hopeless(scores, ratio=200.0) == []
