"""How good forecasts are. Arrays (n, h), a row a cut-off; NaN where y is missing."""

from __future__ import annotations

import numpy as np

from unspool.forecasting.baselines import naive2


def mae(y: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.nanmean(np.abs(y - forecast)))


def mse(y: np.ndarray, forecast: np.ndarray) -> float:
    """Mean squared error."""
    return float(np.nanmean((y - forecast) ** 2))


def rmse(y: np.ndarray, forecast: np.ndarray) -> float:
    """Root of the mean squared error."""
    return mse(y, forecast) ** 0.5


def smape(y: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric mean absolute percentage error, 0 to 200, as M4 has it; 0 where both are 0."""
    size = np.abs(y) + np.abs(forecast)
    return float(np.nanmean(200 * np.abs(y - forecast) / np.where(size == 0, 1, size)))


def seasonal_scale(past: np.ndarray, season: int) -> float:
    """Mean absolute change from one season to the next, of past (T,); NaN where there is none or it is 0."""
    changes = np.abs(past[season:] - past[:-season]) if len(past) > season else np.zeros(0)
    changes = changes[~np.isnan(changes)]
    return float(changes.mean()) if len(changes) and changes.mean() > 0 else float("nan")


def mase(y: np.ndarray, forecast: np.ndarray, scales: np.ndarray) -> float:
    """Mean absolute scaled error (Hyndman, Koehler 2006), scales (n,) by `seasonal_scale`; others left out."""
    return float(np.nanmean(np.abs(y - forecast) / scales[:, None]))


def msis(y: np.ndarray, low: np.ndarray, high: np.ndarray, coverage: float, scales: np.ndarray) -> float:
    """Mean scaled interval score (Gneiting, Raftery 2007), as M4 has it."""
    miss = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    score = high - low + 2 / (1 - coverage) * miss
    return float(np.nanmean(score / scales[:, None]))


def coverage(y: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the observed y within [low, high]."""
    seen = ~np.isnan(y)
    return float(((low <= y) & (y <= high))[seen].mean())


def owa(y: np.ndarray, forecast: np.ndarray, past: list[np.ndarray], season: int) -> float:
    """M4's overall weighted average: the mean of sMAPE and MASE, each over that of Naive2. past: before each row."""
    scales = np.array([seasonal_scale(p, season) for p in past])
    reference = np.stack([naive2(p, y.shape[1], season) for p in past])
    of_smape = smape(y, forecast) / smape(y, reference)
    return (of_smape + mase(y, forecast, scales) / mase(y, reference, scales)) / 2
