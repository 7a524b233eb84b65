"""What a forecast must beat: naive, seasonal naive, drift; and Naive2, by which the M4 competition measured."""

from __future__ import annotations

import numpy as np

from unspool.errors import warn_caller

MODEL = "this model"
NAMES = ("naive", "seasonal naive", "drift")


def baseline(name: str, past: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """(horizon,): one of `NAMES` for what was observed, past (T,), NaN where missing; see `at_cutoffs`."""
    return at_cutoffs(name, [past], np.zeros(1, np.int64), np.array([len(past)]), horizon, season)[0]


def at_cutoffs(
    name: str, values: list[np.ndarray], series: np.ndarray, cutoffs: np.ndarray, horizon: int, season: int
) -> np.ndarray:
    """(n, horizon): a baseline at cut-offs (n,) of series (n,), each from what lies before.

    naive: the last value. seasonal naive: the last value observed at the same place of the season (season 1: naive).
    drift: the last value, and on by the mean change from the first to the last. 0 where nothing was observed.
    """
    found = np.zeros((len(series), horizon))
    for s in np.unique(series):
        rows = np.flatnonzero(series == s)
        y, ends = values[s], cutoffs[rows]
        seen = np.where(np.isnan(y), -1, np.arange(len(y)))
        at = np.maximum.accumulate(seen)[ends - 1]
        last = np.where(at >= 0, y[at], 0.0)
        found[rows] = last[:, None]
        if name == "drift":
            first = int((seen >= 0).argmax())
            slope = np.where(at > first, (last - y[first]) / np.maximum(at - first, 1), 0.0)
            found[rows] += slope[:, None] * ((ends - 1 - at)[:, None] + np.arange(1, horizon + 1))
        elif name == "seasonal naive":
            for place in range(min(season, len(y))):
                seen[place::season] = np.maximum.accumulate(seen[place::season])
            before = ends[:, None] - season + np.arange(horizon) % season
            source = np.where(before >= 0, seen[np.maximum(before, 0)], -1)
            found[rows] = np.where(source >= 0, y[source], found[rows])
    return found


def naive2(past: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """(horizon,): the naive forecast of the series without its season, which is put back; without missing values.

    As the M4 competition defines it: classical multiplicative decomposition, where the autocorrelation at the season is
    significant at 90 %; otherwise the naive forecast (Makridakis, Spiliotis, Assimakopoulos 2020).
    """
    if season == 1 or len(past) < 3 * season or not _seasonal(past, season):
        return np.full(horizon, past[-1])
    indices = _indices(past, season)
    last = past[-1] / indices[(len(past) - 1) % season]
    return last * indices[(len(past) + np.arange(horizon)) % season]


def _seasonal(past: np.ndarray, season: int) -> bool:
    centred = past - past.mean()
    squares = float(centred @ centred)
    if squares == 0:
        return False
    lags = np.array([centred[k:] @ centred[:-k] / squares for k in range(1, season + 1)])
    limit = 1.645 * np.sqrt((1 + 2 * (lags[:-1] ** 2).sum()) / len(past))
    return bool(abs(lags[-1]) > limit)


def _indices(past: np.ndarray, season: int) -> np.ndarray:
    """(season,) of mean 1: how far each place of the season lies above a centred moving average."""
    kernel = np.ones(season) / season if season % 2 else np.r_[0.5, np.ones(season - 1), 0.5] / season
    trend = np.convolve(past, kernel, "valid")
    margin = (len(kernel) - 1) // 2
    ratios = past[margin : margin + len(trend)] / trend
    places = (margin + np.arange(len(trend))) % season
    found = np.array([ratios[places == place].mean() for place in range(season)])
    return found / found.mean()


def warn_of_baselines(errors: dict[str, float], what: str) -> None:
    """Warn where a baseline has an error no larger than the model's."""
    better = [name for name in errors if name != MODEL and errors[name] <= errors[MODEL]]
    if better:
        best = min(better, key=lambda name: errors[name])
        warn_caller(
            f"A simple baseline is at least as good: {what} is {errors[MODEL]:.4g} for this model and "
            f"{errors[best]:.4g} for {best}. Use that, or try another input_size, season, loss or more epochs."
        )
