"""Split conformal intervals against another library and by hand; levels that follow their misses."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import polars as pl
import pytest

from unspool import Forecaster
from unspool.errors import DataError, InvalidParameterError
from unspool.forecasting.conformal import Scores, adaptive_levels, bands, rank, smallest_count

from .conftest import SMALL, waves


def test_against_crepes() -> None:
    """Intervals of every level, for each step of the horizon."""
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(0)
    residuals = rng.standard_normal((57, 3)) * [1, 2, 3]
    point = rng.standard_normal((4, 3))
    scores = Scores(np.abs(residuals), np.zeros(57, int))
    for level in (0.5, 0.8, 0.9, 0.95):
        tail = (1 - level) / 2
        found = bands(scores, [tail, 1 - tail], point, np.zeros(4, int), np.ones(4))
        for k in range(3):
            oracle = crepes.ConformalRegressor()
            oracle.fit(residuals[:, k])
            expected = oracle.predict_int(point[:, k], confidence=level)
            np.testing.assert_allclose(found[:, k], expected, atol=1e-12)


@pytest.mark.parametrize("level", [50, 55, 80, 81, 90, 95, 99])
def test_ranks_are_exact(level: int) -> None:
    """⌈(n + 1) level⌉ in whole numbers, where floats alone would be one too high (99 scores at 55 %: 55)."""
    share = Fraction(level, 100)
    for n in range(1, 400):
        assert rank(n, level / 100) == ceil((n + 1) * share)
    least = next(n for n in range(1, 400) if ceil((n + 1) * share) <= n)
    assert smallest_count(level / 100) == least


def test_by_hand() -> None:
    """Nine scores of 1 to 9: at 80 % the 8th, ⌈10 * .8⌉; a missing one leaves 8, whose rank is ⌈9 * .8⌉ = 8."""
    values = np.stack([np.arange(1.0, 10), np.r_[np.arange(1.0, 9), np.nan]], 1)[::-1]
    found = Scores(values, np.zeros(9, int)).widths(0.8, np.zeros(2, int), 2)
    np.testing.assert_array_equal(found, [[8, 8], [8, 8]])


def test_as_few_scores_as_there_can_be() -> None:
    """At 90 % nine, whose 9th is taken; not eight."""
    values = np.arange(1.0, 10)[:, None]
    assert Scores(values, np.zeros(9, int)).widths(0.9, np.zeros(1, int), 1) == 9
    with pytest.raises(DataError, match="needs 9 held-back forecasts"):
        Scores(values[:8], np.zeros(8, int)).widths(0.9, np.zeros(1, int), 1)
    own = Scores(np.arange(1.0, 19)[:, None], np.repeat([0, 1], 9), pooled=False)
    np.testing.assert_array_equal(own.widths(0.5, np.array([1, 0]), 1), [[14], [5]])
    np.testing.assert_array_equal(
        bands(own, [0.25, 0.5, 0.75], np.array([[10.0]]), np.array([0]), np.array([2.0])), [[[0, 10, 20]]]
    )


def test_too_few_scores_are_told_of(fitted: Forecaster) -> None:
    few = Scores(np.ones((8, 2)), np.zeros(8, int))
    with pytest.raises(
        DataError, match=r"An interval of 90 % needs 9 held-back forecasts .*There are 8: hold back more"
    ):
        few.widths(0.9, np.zeros(1, int), 2)
    few.widths(0.85, np.zeros(1, int), 2)
    with pytest.raises(DataError, match=r"An interval of 99 % needs 99 held-back"):
        fitted.predict(level=99)


def test_coverage_of_independent_errors() -> None:
    """90 % intervals from 200 scores hold 90 % of 20,000 further errors, within what 200 scores allow."""
    rng = np.random.default_rng(1)
    held = []
    for _ in range(20):
        scores = Scores(np.abs(rng.standard_t(3, (200, 1))), np.zeros(200, int))
        width = scores.widths(0.9, np.zeros(1, int), 1)[0, 0]
        held.append((np.abs(rng.standard_t(3, 1000)) <= width).mean())
    assert abs(np.mean(held) - 0.9) < 0.01


@pytest.mark.parametrize("calibration", ["pooled", "series"])
def test_coverage_of_forecasts(calibration: str) -> None:
    """Of a fitted model, at 60 cut-offs of series that it has not learnt from."""
    table = waves({"a": 400, "b": 300}, noise=1.0)
    model = Forecaster(**{**SMALL, "epochs": 3}, validation_size=120, calibration=calibration)
    kept = pl.int_range(pl.len()).over("unique_id") < pl.len().over("unique_id") - 65
    model.fit(table.filter(kept))
    found = model.backtest(table, n_windows=60, step_size=1, level=[50, 90]).measure(warn=False)
    assert abs(found["this model"]["coverage-90"] - 0.9) < 0.05
    assert abs(found["this model"]["coverage-50"] - 0.5) < 0.1


def test_adaptive_levels_by_hand() -> None:
    """Scores 1 to 9, half a level of .5 at first: rank 5. Each miss moves a by -.25, each hit by +.25."""
    scores = Scores(np.arange(1.0, 10)[:, None], np.zeros(9, int))
    errors = np.array([[9.0], [9.0], [0.0], [0.0]])
    found = adaptive_levels(errors, np.zeros(4, int), np.arange(4), 0.5, 0.5, scores)
    # a: .5 -> .25 -> 0 -> .25; ranks ceil(10 * (1 - a)): 5, 8, 10 (the largest there is, 9), 8
    np.testing.assert_array_equal(found[:, 0], [5, 8, 9, 8])


def test_adaptive_levels_wait_until_y_is_known() -> None:
    """A miss 3 steps ahead counts for cut-offs at least 3 later."""
    scores = Scores(np.tile(np.arange(1.0, 10)[:, None], (1, 3)), np.zeros(9, int))
    errors = np.full((6, 3), 9.0)
    found = adaptive_levels(errors, np.zeros(6, int), np.arange(6), 0.5, 0.5, scores)
    assert (found[:, 0] == found[0, 0]).sum() == 1 and (found[:, 2] == found[0, 2]).sum() == 3


def test_adaptive_levels_follow_a_change() -> None:
    """Errors double half way: fixed intervals then miss, adaptive ones find back to their level."""
    rng = np.random.default_rng(2)
    scores = Scores(np.abs(rng.standard_normal((300, 1))), np.zeros(300, int))
    errors = np.abs(rng.standard_normal((2000, 1))) * 2
    fixed = scores.widths(0.8, np.zeros(1, int), 1)[0, 0]
    moved = adaptive_levels(errors, np.zeros(2000, int), np.arange(2000), 0.8, 0.02, scores)
    assert (errors <= fixed).mean() < 0.55 and abs((errors <= moved).mean() - 0.8) < 0.02


def test_adaptive_backtests(fitted: Forecaster, table: pl.DataFrame) -> None:
    still = fitted.backtest(table, n_windows=20, step_size=1, level=80)
    moved = fitted.backtest(table, n_windows=20, step_size=1, level=80, adaptive=0.05)
    np.testing.assert_array_equal(still.forecast, moved.forecast)
    first = still.cutoffs == np.array([still.cutoffs[still.series == s].min() for s in still.series])
    np.testing.assert_allclose(still.bands["lo-80"][first], moved.bands["lo-80"][first])
    assert (still.bands["lo-80"] != moved.bands["lo-80"]).any()
    with pytest.raises(InvalidParameterError, match="'adaptive' parameter of Forecaster must be a number in"):
        fitted.backtest(table, level=80, adaptive=2.0)


def test_intervals_need_held_back_steps(table: pl.DataFrame) -> None:
    model = Forecaster(**{**SMALL, "epochs": 1}, validation_size=0).fit(table)
    assert model.validation_ is None and len(model.predict()) == 18
    with pytest.raises(
        DataError, match="Intervals need held-back steps to be calibrated with, and fit held none back"
    ):
        model.predict(level=50)


def test_series_that_have_no_scores_of_their_own(table: pl.DataFrame) -> None:
    model = Forecaster(**{**SMALL, "epochs": 1}, validation_size=30, calibration="series").fit(table)
    turned = pl.concat([table.filter(pl.col("unique_id") == n) for n in "cb"])
    expected = model.predict(level=50).filter(pl.col("unique_id") != "a")
    found = model.predict(df=turned, level=50)
    np.testing.assert_allclose(
        found.to_numpy()[:, 2:].astype(float), expected.to_numpy()[:, 2:].astype(float), atol=1e-4
    )
    with pytest.raises(DataError, match="Series 'new' was not fitted, and calibration='series'"):
        model.predict(df=waves({"new": 60}), level=50)
