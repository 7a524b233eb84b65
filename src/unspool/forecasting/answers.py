"""What a fitted forecaster answers: the network's outputs in the series' own units, and intervals around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.forecasting.building import loss_of, some_windows
from unspool.forecasting.conformal import bands
from unspool.forecasting.levels import Wanted
from unspool.forecasting.panel import Panel
from unspool.forecasting.prepare import read_future
from unspool.forecasting.windows import Windows
from unspool.program import surroundings
from unspool.training.device import CPU, asking, device_of

if TYPE_CHECKING:
    from unspool.forecasting.forecaster import Forecaster


def ahead(
    model: Forecaster, panel: Panel, h: int, future: Any, wanted: Wanted
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(points (S, h), bands by name); future: a table."""
    return ahead_of(model, panel, h, read_future(future, panel, h), wanted)


@surroundings.defaults()
def ahead_of(
    model: Forecaster, panel: Panel, h: int, coming: list[np.ndarray] | None, wanted: Wanted
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """As `ahead`; coming: for each series (h, covariates known ahead), None where there are none."""
    check_reach(model, h, wanted)
    short = np.flatnonzero(panel.counts < model.unit_)
    if len(short):
        raise DataError(
            f"Series {panel.ids[short[0]]!r} has {panel.counts[short[0]]} steps, fewer than the {model.unit_} that "
            "a forecast looks back on at least."
        )
    check_seen(model, panel)
    preparation = model.preparation_.with_series(panel)  # of new series too: scales stay when the panel grows
    offsets, scales = preparation.scales_of(panel)
    points: list[np.ndarray] = []
    named: dict[str, np.ndarray] = {}
    for start in range(0, h, model.horizon):
        steps = min(model.horizon, h - start)
        ahead = None if coming is None else [c[start : start + steps] for c in coming]
        block = preparation.block(panel, ahead, model.horizon)
        counts = panel.counts
        sizes = np.minimum(model.input_size_, counts // model.unit_ * model.unit_)
        windows = some_windows(model, block, np.arange(len(panel)), counts, sizes, scales)
        raw = outputs_of(model, windows)
        point = in_units(loss_of(model).point(raw).double().numpy(), windows, offsets)
        points.append(point[:, :steps])
        if wanted.levels and start == 0:
            found = bands_of(model, raw, point, windows, offsets, wanted.levels, panel)[:, :steps]
            named = wanted.named(found)
        if start + steps < h:
            panel = lengthened(panel, points[-1], ahead, model.input_size_ + model.unit_)
    return np.concatenate(points, 1), named


def check_seen(model: Forecaster, panel: Panel) -> None:
    """`DataError` for a series that has nothing to forecast from."""
    for name, values in zip(panel.ids, panel.targets()):
        if np.isnan(values[-model.input_size_ :]).all():
            raise DataError(
                f"Series {name!r} has no value in the last {model.input_size_} steps to forecast from."
            )


def check_reach(model: Forecaster, h: int, wanted: Wanted) -> None:
    """`DataError` where the model has no such intervals, `h` steps ahead."""
    if not wanted.levels:
        return
    if h > model.horizon:
        raise DataError(
            f"Intervals reach as far as the horizon that was trained, {model.horizon} steps. Got h={h}: fit with "
            f"horizon={h}, or ask for points alone."
        )
    if model.intervals == "conformal" and model.scores_ is None and any(q != 0.5 for q in wanted.levels):
        raise DataError(
            "Intervals need held-back steps to be calibrated with, and fit held none back: fit with another "
            "validation_size."
        )
    if model.intervals == "model" and model.loss == "quantile":
        missing = [q for q in wanted.levels if not any(abs(q - own) < 1e-9 for own in model.quantiles)]
        if missing:
            raise DataError(
                f"The model learnt the quantiles {list(model.quantiles)}, not {missing[0]:g}: name it in quantiles= "
                "when it is made."
            )


def outputs_of(model: Forecaster, windows: Windows) -> Tensor:
    """The network's outputs (n, horizon, P), made on its device and given on the CPU."""
    rows, parts = [], []
    with asking(model) as network, torch.inference_mode():
        device = device_of(network)
        for batch in windows.prediction_batches():
            rows.append(batch.rows)
            parts.append(network(*batch.to(device).given).to(CPU))
    if not parts:
        return torch.zeros(0, model.horizon, loss_of(model).outputs)
    return torch.cat(parts)[torch.cat(rows).argsort()]


def in_units(values: np.ndarray, windows: Windows, offsets: np.ndarray) -> np.ndarray:
    """Outputs (n, h) or (n, h, Q) in the series' own units; offsets (n,)."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    scale = (windows.unit / windows.spread).reshape(shape)
    spread = windows.spread.reshape(shape)
    base = windows.base(np.arange(len(windows)))
    base = base if values.ndim == 2 else base[..., None]
    return (values * spread + base) * scale + offsets.reshape(shape)


def points_of(model: Forecaster, windows: Windows, offsets: np.ndarray) -> np.ndarray:
    """(n, horizon): forecasts in the series' own units; offsets (n,)."""
    return in_units(loss_of(model).point(outputs_of(model, windows)).double().numpy(), windows, offsets)


def bands_of(
    model: Forecaster,
    raw: Tensor,
    point: np.ndarray,
    windows: Windows,
    offsets: np.ndarray,
    levels: Sequence[float],
    panel: Panel,
) -> np.ndarray:
    """(n, horizon, len(levels)): quantiles in the series' own units; offsets (n,), windows of the panel."""
    if model.intervals == "model":
        unit = torch.from_numpy(windows.unit)[:, None]
        return in_units(loss_of(model).quantiles(raw, levels, unit), windows, offsets)
    scale = windows.unit / windows.spread
    if model.scores_ is None:
        return np.repeat(point[..., None], len(levels), -1)
    found = bands(model.scores_, levels, point, known_as(model, panel)[windows.series], scale)
    return np.maximum(found, 0) if model.loss == "negative_binomial" else found


def known_as(model: Forecaster, panel: Panel) -> np.ndarray:
    """(S,): the series of the panel as the scores number them, -1 for one that was not fitted."""
    place = {name: i for i, name in enumerate(model.preparation_.ids)}
    found = np.array([place.get(name, -1) for name in panel.ids], np.int64)
    if model.calibration == "series" and (found < 0).any():
        name = panel.ids[int((found < 0).argmax())]
        raise DataError(
            f"Series {name!r} was not fitted, and calibration='series' has intervals of its own for each: fit with "
            "calibration='pooled', or ask for points alone."
        )
    return found


def lengthened(panel: Panel, points: np.ndarray, future: list[np.ndarray] | None, keep: int) -> Panel:
    """The last `keep` steps of the panel with forecasts (S, k) as if they had been observed; past covariates
    are missing there."""
    values = []
    for s, old in enumerate(panel.values):
        new = np.full((points.shape[1], old.shape[1]), np.nan)
        new[:, 0] = points[s]
        if future is not None:
            new[:, 1 + len(panel.names.past) :] = future[s]
        values.append(np.concatenate([old, new])[-keep:])
    passed = panel.counts + points.shape[1] - [len(v) for v in values]
    firsts = [panel.calendar.stamps(int(f), n[None])[0] for f, n in zip(panel.firsts, passed)]
    return replace(panel, values=values, firsts=np.array(firsts, panel.firsts.dtype))


def actual(panel: Panel, series: np.ndarray, cutoffs: np.ndarray, horizon: int) -> np.ndarray:
    """(n, horizon): what was observed, NaN where missing."""
    targets = panel.targets()
    found = [targets[s][c : c + horizon] for s, c in zip(series.tolist(), cutoffs.tolist())]
    return np.stack(found) if found else np.zeros((0, horizon))
