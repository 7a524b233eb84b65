"""Forecasts at cut-offs in the past: rolled out, measured beside baselines, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from unspool.errors import DataError, bad_parameter, check_float, check_int, warn_caller
from unspool.forecasting import metrics
from unspool.forecasting.answers import actual, bands_of, check_reach, in_units, known_as, outputs_of
from unspool.forecasting.baselines import MODEL, NAMES, at_cutoffs, warn_of_baselines
from unspool.forecasting.building import loss_of, some_windows
from unspool.forecasting.conformal import adaptive_levels
from unspool.forecasting.fitting import fit_panel, remember
from unspool.forecasting.levels import Wanted
from unspool.forecasting.panel import Panel
from unspool.program import surroundings

if TYPE_CHECKING:
    from unspool.forecasting.forecaster import Forecaster


@dataclass(frozen=True)
class Backtest:
    """Forecasts at n cut-offs. series, cutoffs (n,): whose, and the steps before the horizon. y (n, h): NaN where
    missing. forecast (n, h). bands: intervals and quantiles by column name, (n, h) each. season: of the baseline."""

    panel: Panel
    series: np.ndarray
    cutoffs: np.ndarray
    y: np.ndarray
    forecast: np.ndarray
    bands: dict[str, np.ndarray]
    wanted: Wanted
    season: int

    def __repr__(self) -> str:
        count, h = self.y.shape
        return f"Backtest({count} forecasts of {h} steps, of {len(np.unique(self.series))} series)"

    def frame(self) -> pl.DataFrame:
        """A row a step: id, time, cutoff (the last stamp before the forecast), target, "forecast", intervals."""
        h = self.y.shape[1]
        series = np.repeat(self.series, h)
        positions = (self.cutoffs[:, None] + np.arange(h)).reshape(-1)
        names = self.panel.names
        frame = self.panel.frame(series, positions)
        ends = self.panel.frame(series, np.repeat(self.cutoffs - 1, h))[names.time]
        columns = {names.target: self.y, "forecast": self.forecast, **self.bands}
        frame = frame.with_columns(ends.alias("cutoff"))
        frame = frame.with_columns(pl.Series(name, c.reshape(-1)) for name, c in columns.items())
        return frame.with_columns(pl.col(names.target).fill_nan(None))

    def baseline(self, name: str) -> np.ndarray:
        """(n, h): "naive", "seasonal naive" or "drift" at the same cut-offs."""
        return at_cutoffs(name, self.panel.targets(), self.series, self.cutoffs, self.y.shape[1], self.season)

    def scales(self) -> np.ndarray:
        """(n,): the mean seasonal change before each cut-off, which MASE divides by."""
        targets = self.panel.targets()
        return np.array(
            [
                metrics.seasonal_scale(targets[s][:c], self.season)
                for s, c in zip(self.series.tolist(), self.cutoffs.tolist())
            ]
        )

    def measure(self, warn: bool = True) -> dict[str, dict[str, float]]:
        """MAE, RMSE, sMAPE and MASE of the model and of each baseline; of the model also what its intervals cover.

        warn: where a baseline's MAE is no larger than the model's.
        """
        scales, found = self.scales(), {}
        for name in (MODEL, *NAMES):
            forecast = self.forecast if name == MODEL else self.baseline(name)
            found[name] = {
                "mae": metrics.mae(self.y, forecast),
                "rmse": metrics.rmse(self.y, forecast),
                "smape": metrics.smape(self.y, forecast),
                "mase": metrics.mase(self.y, forecast, scales) if np.isfinite(scales).any() else float("nan"),
            }
        for level, low, high in self.wanted.coverages:
            found[MODEL][f"coverage-{level:g}"] = metrics.coverage(self.y, self.bands[low], self.bands[high])
        if warn:
            warn_of_baselines({name: row["mae"] for name, row in found.items()}, "the mean absolute error")
        return found


def places(
    model: Forecaster, panel: Panel, n_windows: int, step_size: int, h: int
) -> tuple[np.ndarray, np.ndarray]:
    """(series, cutoffs) of all cut-offs, series by series, each in time; too short series are left out, and told of."""
    counts = panel.counts
    back = h + np.arange(n_windows)[::-1] * step_size
    cutoffs = counts[:, None] - back
    good = cutoffs[:, 0] >= model.unit_
    if not good.any():
        raise DataError(
            f"No series is long enough for {n_windows} cut-offs {step_size} steps apart: that takes "
            f"{int(back[0]) + model.unit_} steps, and the longest has {int(counts.max())}."
        )
    if not good.all():
        names = ", ".join(repr(panel.ids[i]) for i in np.flatnonzero(~good)[:3])
        warn_caller(
            f"{int((~good).sum())} series are too short for these cut-offs and left out, such as {names}."
        )
    rows = np.flatnonzero(good)
    return np.repeat(rows, n_windows), cutoffs[rows].reshape(-1)


@surroundings.defaults()
def run(
    model: Forecaster,
    panel: Panel,
    n_windows: int,
    step_size: int | None,
    h: int | None,
    wanted: Wanted,
    adaptive: float,
) -> Backtest:
    """By a fitted model; see `Forecaster.cross_validation`."""
    h, step_size = _checked(model, n_windows, step_size, h, wanted, adaptive)
    series, cutoffs = places(model, panel, n_windows, step_size, h)
    return at(model, panel, series, cutoffs, h, wanted, adaptive)


def at(
    model: Forecaster,
    panel: Panel,
    series: np.ndarray,
    cutoffs: np.ndarray,
    h: int,
    wanted: Wanted,
    adaptive: float = 0.0,
) -> Backtest:
    """By a fitted model, at cut-offs (n,) of series (n,) of the panel."""
    first = panel.counts.copy()
    np.minimum.at(first, series, cutoffs)
    offsets, scales = model.preparation_.scales_of(panel, first)
    block = model.preparation_.block(panel, limits=first)
    sizes = np.minimum(model.input_size_, cutoffs // model.unit_ * model.unit_)
    windows = some_windows(model, block, series, cutoffs, sizes, scales)
    raw = outputs_of(model, windows)
    point = in_units(loss_of(model).point(raw).double().numpy(), windows, offsets[series])
    y = actual(panel, series, cutoffs, h)
    found: dict[str, np.ndarray] = {}
    if wanted.levels and adaptive:
        found = wanted.named(_adapted(model, panel, windows, point, y, h, wanted, adaptive))
    elif wanted.levels:
        bands = bands_of(model, raw, point, windows, offsets[series], wanted.levels, panel)
        found = wanted.named(bands[:, :h])
    return Backtest(panel, series, cutoffs, y, point[:, :h], found, wanted, model.season_)


def _adapted(
    model: Forecaster,
    panel: Panel,
    windows: Any,
    point: np.ndarray,
    y: np.ndarray,
    h: int,
    wanted: Wanted,
    rate: float,
) -> np.ndarray:
    """(n, h, levels) with levels that follow the misses."""
    assert model.scores_ is not None
    scale = (windows.unit / windows.spread)[:, None]
    errors = np.abs(y - point[:, :h]) / scale
    known = known_as(model, panel)[windows.series]
    columns = []
    for level in wanted.levels:
        if level == 0.5:
            columns.append(point[:, :h])
            continue
        coverage = round(abs(2 * level - 1), 12)
        width = adaptive_levels(errors, known, windows.cutoffs, coverage, rate, model.scores_) * scale
        columns.append(point[:, :h] + (width if level > 0.5 else -width))
    return np.stack(columns, -1)


def _checked(
    model: Forecaster, n_windows: int, step_size: int | None, h: int | None, wanted: Wanted, adaptive: float
) -> tuple[int, int]:
    check_int("Forecaster", "n_windows", n_windows)
    h = model.horizon if h is None else check_int("Forecaster", "h", h)
    if h > model.horizon:
        bad_parameter(
            "Forecaster", "h", f"at most the horizon that is learnt, {model.horizon}, at past cut-offs", h
        )
    step_size = h if step_size is None else check_int("Forecaster", "step_size", step_size)
    check_float("Forecaster", "adaptive", adaptive, 0, 1)
    if adaptive and model.intervals != "conformal":
        bad_parameter("Forecaster", "adaptive", "0 with intervals='model'", adaptive)
    if hasattr(model, "network_"):
        check_reach(model, h, wanted)
    return h, step_size


def cross_validate(
    model: Forecaster,
    panel: Panel,
    n_windows: int,
    step_size: int | None,
    refit: bool | int,
    h: int | None,
    wanted: Wanted,
    adaptive: float,
) -> Backtest:
    """By copies of `model`, fitted before the cut-offs; see `Forecaster.cross_validation`."""
    from sklearn.base import clone

    h, step_size = _checked(model, n_windows, step_size, h, wanted, adaptive)
    every = n_windows if refit is False else 1 if refit is True else check_int("Forecaster", "refit", refit)
    if adaptive and every < n_windows:
        bad_parameter("Forecaster", "adaptive", "0 where the model is fitted anew between cut-offs", adaptive)
    parts = []
    for start in range(0, n_windows, every):
        count = min(every, n_windows - start)
        after = (n_windows - start - 1) * step_size + h  # steps from this fit's end to the end of the series
        fitted = fit_panel(clone(model), without_end(panel, after))
        seen = without_end(panel, (n_windows - start - count) * step_size)
        series, cutoffs = places(fitted, seen, count, step_size, h)
        check_reach(fitted, h, wanted)
        parts.append(at(fitted, seen, series, cutoffs, h, wanted, adaptive))
    return _joined(parts, panel)


def measured(
    model: Forecaster, panel: Panel, n_windows: int, wanted: Wanted, keeping: Mapping[str, Any]
) -> Backtest:
    """See `Forecaster.measured`; keeping: its checkpoint."""
    from sklearn.base import clone

    h, step = _checked(clone(model), n_windows, None, None, wanted, 0.0)
    fit_panel(model, without_end(panel, n_windows * step), **keeping)
    check_reach(model, h, wanted)
    series, cutoffs = places(model, panel, n_windows, step, h)
    found = at(model, panel, series, cutoffs, h, wanted)
    model.preparation_ = model.preparation_.with_series(panel)
    remember(model, panel)
    return found


def without_end(panel: Panel, steps: int) -> Panel:
    """All series without their last `steps`; those that would have none are left out."""
    if steps == 0:
        return panel
    rows = [i for i, v in enumerate(panel.values) if len(v) > steps]
    if not rows:
        raise DataError(f"No series is longer than the {steps} steps that the cut-offs leave for later.")
    found = panel.take(rows)
    weights = None if found.weights is None else [w[:-steps] for w in found.weights]
    return replace(found, values=[v[:-steps] for v in found.values], weights=weights)


def _joined(parts: list[Backtest], panel: Panel) -> Backtest:
    """Of several fits, in the order of series, then time; series as `panel` numbers them."""
    place = {name: i for i, name in enumerate(panel.ids)}
    series = np.concatenate([[place[p.panel.ids[s]] for s in p.series.tolist()] for p in parts]).astype(
        np.int64
    )
    cutoffs = np.concatenate([p.cutoffs for p in parts])
    order = np.lexsort((cutoffs, series))
    bands = {name: np.concatenate([p.bands[name] for p in parts])[order] for name in parts[0].bands}
    return replace(
        parts[0],
        panel=panel,
        series=series[order],
        cutoffs=cutoffs[order],
        y=np.concatenate([p.y for p in parts])[order],
        forecast=np.concatenate([p.forecast for p in parts])[order],
        bands=bands,
    )
