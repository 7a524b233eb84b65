"""What forecasts must depend on, and what they must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from unspool import Forecaster
from unspool.errors import DataError, InvalidParameterError
from unspool.forecasting import answers
from unspool.training import batches

from .conftest import SMALL, ahead, waves

MODELS = ["segments", "recurrent", "seq2seq"]


@pytest.fixture(scope="module", params=MODELS)
def each(request: pytest.FixtureRequest, table: pl.DataFrame, fitted: Forecaster) -> Forecaster:
    """A forecaster of each kind."""
    if request.param == "segments":
        return fitted
    return Forecaster(**{**SMALL, "epochs": 1}, model=request.param).fit(table)


def test_the_last_value_moves_the_first_step(each: Forecaster, table: pl.DataFrame) -> None:
    moved = table.with_columns(
        pl.when(pl.col("ds") == pl.col("ds").max().over("unique_id"))
        .then(pl.col("y") + 5)
        .otherwise("y")
        .alias("y")
    )
    before, after = each.predict(df=table), each.predict(df=moved)
    first = np.arange(0, 18, 6)
    change = (after["y"] - before["y"]).to_numpy()[first]
    assert (np.abs(change) > 0.02).all()


def test_later_values_do_not_reach_earlier_cutoffs(each: Forecaster, table: pl.DataFrame) -> None:
    """Each series' last 10 values are set to 0: the forecasts of the cut-offs before are the same, bit by bit."""
    last = pl.int_range(pl.len()).over("unique_id") >= pl.len().over("unique_id") - 10
    zeroed = table.with_columns(pl.when(last).then(0.0).otherwise("y").alias("y"))
    kept, other = (each.backtest(t, n_windows=12, step_size=1, level=50) for t in (table, zeroed))
    early = kept.cutoffs <= kept.panel.counts[kept.series] - 10
    assert early.sum() == 3 * 8
    np.testing.assert_array_equal(kept.forecast[early], other.forecast[early])
    np.testing.assert_array_equal(kept.bands["lo-50"][early], other.bands["lo-50"][early])
    assert (kept.forecast[~early] != other.forecast[~early]).any()


def test_series_that_were_not_fitted_are_scaled_by_what_lies_before(fitted: Forecaster) -> None:
    new = waves({"new": 80}, seed=9)
    last = pl.int_range(pl.len()) >= pl.len() - 5
    zeroed = new.with_columns(pl.when(last).then(0.0).otherwise("y").alias("y"))
    one, two = (fitted.backtest(t, n_windows=3, step_size=6) for t in (new, zeroed))
    np.testing.assert_array_equal(one.forecast[:2], two.forecast[:2])


def test_cross_validation_learns_nothing_of_what_it_forecasts(table: pl.DataFrame) -> None:
    """Set to 0, the values after the first cut-off, more than is held back, change nothing of its forecasts."""
    last = pl.int_range(pl.len()).over("unique_id") >= pl.len().over("unique_id") - 24
    zeroed = table.with_columns(pl.when(last).then(0.0).otherwise("y").alias("y"))
    model = Forecaster(**{**SMALL, "epochs": 1})
    first = pl.col("cutoff") == pl.col("cutoff").min().over("unique_id")
    one, two = (model.cross_validation(t, n_windows=4).filter(first) for t in (table, zeroed))
    assert len(one) == 18
    np.testing.assert_array_equal(one["forecast"].to_numpy(), two["forecast"].to_numpy())
    assert not hasattr(model, "network_")


def test_refits_learn_what_has_come_since(table: pl.DataFrame) -> None:
    model = Forecaster(**{**SMALL, "epochs": 1})
    once, each = (model.cross_validation(table, n_windows=2, refit=refit) for refit in (False, True))
    assert once.drop("forecast").equals(each.drop("forecast"))
    first = pl.col("cutoff") == pl.col("cutoff").min().over("unique_id")
    one, two = (t["forecast"].to_numpy() for t in (once, each))
    early = once.select(first).to_series().to_numpy()
    np.testing.assert_allclose(one[early], two[early], atol=1e-4)
    assert (np.abs(one - two)[~early] > 1e-2).any()


def test_levels_are_pairs_of_quantiles(fitted: Forecaster) -> None:
    by_level, by_quantile = fitted.predict(level=[90, 50]), fitted.predict(quantiles=[0.05, 0.95, 0.25, 0.75])
    assert by_level.columns == ["unique_id", "ds", "y", "lo-90", "hi-90", "lo-50", "hi-50"]
    assert by_quantile.columns == ["unique_id", "ds", "y", "q-0.05", "q-0.95", "q-0.25", "q-0.75"]
    np.testing.assert_array_equal(by_level.to_numpy()[:, 2:], by_quantile.to_numpy()[:, 2:])
    assert (by_level["lo-90"] <= by_level["lo-50"]).all() and (by_level["hi-50"] <= by_level["hi-90"]).all()
    with pytest.raises(InvalidParameterError, match="None where level is given"):
        fitted.predict(level=90, quantiles=[0.5])


def test_uneven_series_come_back_in_their_own_rows(fitted: Forecaster, table: pl.DataFrame) -> None:
    together = fitted.predict(df=table)
    for name in "abc":
        alone = fitted.predict(df=table.filter(pl.col("unique_id") == name))
        part = together.filter(pl.col("unique_id") == name)
        assert part["ds"].equals(alone["ds"])
        np.testing.assert_allclose(part["y"].to_numpy(), alone["y"].to_numpy(), atol=1e-4)
    turned = fitted.predict(df=pl.concat([table.filter(pl.col("unique_id") == n) for n in "cab"]))
    assert turned.equals(together)
    assert abs(together.filter(pl.col("unique_id") == "c")["y"].mean() - 26) < 4


def test_windows_of_different_lengths_come_back_in_their_own_rows(fitted: Forecaster) -> None:
    """The network has them by length: 12, 3, 12 and 6 steps."""
    data = waves({"a": 90, "b": 4, "c": 50, "d": 8}, seed=4)
    together = fitted.predict(df=data)
    for name in "abcd":
        alone = fitted.predict(df=data.filter(pl.col("unique_id") == name))
        part = together.filter(pl.col("unique_id") == name)
        np.testing.assert_allclose(part["y"].to_numpy(), alone["y"].to_numpy(), atol=1e-3)


def test_scales_are_those_of_the_training_part(covered: Forecaster, table: pl.DataFrame) -> None:
    """The last tenth of each series, at least a horizon, is held back."""
    beside = []
    for k, (name, held) in enumerate([("a", 12), ("b", 9), ("c", 15)]):
        part = table.filter(pl.col("unique_id") == name)[:-held]
        assert covered.preparation_.offsets[k] == pytest.approx(part["y"].mean())
        assert covered.preparation_.scales[k] == pytest.approx(part["y"].std(ddof=0))
        beside.append(part["beside"])
    whole = pl.concat(beside)
    assert covered.preparation_.covariates[0] == pytest.approx((whole.mean(), whole.std(ddof=0)))


def test_the_score_does_not_depend_on_the_batch(
    fitted: Forecaster, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row counts, the last batch too, whatever the size."""
    whole = fitted.backtest(table, n_windows=11, step_size=1)
    monkeypatch.setattr(batches, "PREDICTION_BATCH", 7)
    small = fitted.backtest(table, n_windows=11, step_size=1)
    assert whole.forecast.shape == small.forecast.shape == (33, 6)
    np.testing.assert_allclose(whole.forecast, small.forecast, atol=1e-4)


def test_forecasts_go_past_the_end(fitted: Forecaster, table: pl.DataFrame) -> None:
    frame = fitted.predict()
    ends = dict(table.group_by("unique_id").agg(pl.col("ds").max()).rows())
    for name in "abc":
        stamps = frame.filter(pl.col("unique_id") == name)["ds"]
        assert [(s - ends[name]).total_seconds() / 3600 for s in stamps] == [1, 2, 3, 4, 5, 6]
    assert frame.equals(fitted.predict(df=table))


def test_far_beyond_the_horizon_only_the_last_steps_are_carried_on(
    fitted: Forecaster, table: pl.DataFrame
) -> None:
    """Block by block as the whole table with the forecasts before would give, whose older part is left behind."""
    far = fitted.predict(h=30 * 6, df=table)
    place = pl.int_range(pl.len()).over("unique_id")
    seen = pl.concat(
        [table.select("unique_id", "ds", "y"), far.filter(place < 29 * 6).select("unique_id", "ds", "y")]
    )
    last = fitted.predict(df=seen.sort("unique_id", "ds"))
    assert last["ds"].to_list() == far.filter(place >= 29 * 6)["ds"].to_list()
    np.testing.assert_allclose(far.filter(place >= 29 * 6)["y"], last["y"], rtol=1e-6)


def test_new_series_keep_their_scale_beyond_the_horizon(
    fitted: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = []
    block = type(fitted.preparation_).block

    def kept(self: Any, panel: Any, *given: Any) -> Any:
        scales.append(self.scales_of(panel))
        return block(self, panel, *given)

    monkeypatch.setattr(type(fitted.preparation_), "block", kept)
    fitted.predict(h=18, df=waves({"new": 80}, seed=9))
    assert len(scales) == 3 and all(np.array_equal(s, scales[0]) for s in scales)


def test_beyond_the_horizon_forecasts_are_read_as_observed(fitted: Forecaster, table: pl.DataFrame) -> None:
    long = fitted.predict(h=15)
    first = long.filter(pl.int_range(pl.len()).over("unique_id") < 6)
    assert first.equals(fitted.predict())
    again = fitted.predict(
        df=pl.concat([table.select("unique_id", "ds", "y"), first]).sort("unique_id", "ds")
    )
    second = long.filter(pl.int_range(pl.len()).over("unique_id").is_between(6, 11))
    np.testing.assert_allclose(second["y"].to_numpy(), again["y"].to_numpy(), atol=1e-5)
    with pytest.raises(DataError, match=r"as far as the horizon that was trained, 6 steps. Got h=15"):
        fitted.predict(h=15, level=50)
    assert fitted.predict(h=4).equals(fitted.predict().filter(pl.int_range(pl.len()).over("unique_id") < 4))


def test_covariates_that_are_known_ahead_matter(covered: Forecaster, table: pl.DataFrame) -> None:
    none, all_ = (covered.predict(future=ahead(table, 6, promo)) for promo in (0.0, 1.0))
    assert (all_["y"] != none["y"]).all()
    with pytest.raises(DataError, match="needs 'promo' of the 6 steps ahead"):
        covered.predict()
    with pytest.raises(DataError, match=r"no 'promo' of series 'a' at ds 2024-01-06 05:00:00.*, step 6 of 6"):
        covered.predict(future=ahead(table, 5))
    with pytest.raises(DataError, match="no row of series 'b'"):
        covered.predict(future=ahead(table, 6).filter(pl.col("unique_id") != "b"))
    assert len(covered.predict(h=9, future=ahead(table, 9))) == 27


def test_past_and_static_covariates_matter(covered: Forecaster, table: pl.DataFrame) -> None:
    future = ahead(table, 6)
    usual = covered.predict(df=table, future=future)["y"]
    for change in (pl.col("beside") + 2, pl.lit("even").alias("kind")):
        other = covered.predict(df=table.with_columns(change), future=future)["y"]
        assert (other != usual).any()


def test_the_same_seed_gives_the_same_model(table: pl.DataFrame, fitted: Forecaster) -> None:
    again = Forecaster(**SMALL)
    state = torch.get_rng_state()
    assert again.fit(table).predict(level=50).equals(fitted.predict(level=50))
    assert torch.equal(state, torch.get_rng_state())


def test_the_network_sees_no_absolute_level_of_the_future(fitted: Forecaster) -> None:
    """What stands in the targets of the windows that predict makes is masked."""
    panel = fitted.tail_
    block = fitted.preparation_.block(panel, None, 6)
    windows = answers.some_windows(fitted, block, np.arange(3), panel.counts, np.full(3, 12), np.ones(3))
    made = windows.take(torch.arange(3))
    assert made.targets is not None and not made.targets[:, 6:12].any()
