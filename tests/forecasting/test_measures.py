"""Baselines and measures by hand, and against the figures that the M4 competition published."""

from __future__ import annotations

import csv

import numpy as np
import polars as pl
import pytest

from unspool import Forecaster
from unspool.forecasting import metrics
from unspool.forecasting.baselines import baseline, naive2

from .conftest import SHARED, SMALL

NAN = np.nan


@pytest.mark.parametrize(
    ("name", "past", "season", "expected"),
    [
        ("naive", [1, 2, 4], 2, [4, 4, 4]),
        ("naive", [1, 2, NAN], 2, [2, 2, 2]),
        ("drift", [1, 2, 4], 2, [5.5, 7, 8.5]),
        ("drift", [1, NAN, 5, NAN], 2, [9, 11, 13]),
        ("seasonal naive", [1, 2, 3, 4, 5], 3, [3, 4, 5]),
        ("seasonal naive", [1, 2, 3, 4, 5], 2, [4, 5, 4]),
        ("seasonal naive", [1, 2, 3, NAN, 5], 2, [2, 5, 2]),
        ("seasonal naive", [1, 2, 3], 1, [3, 3, 3]),
        ("seasonal naive", [7, 8], 4, [8, 8, 7]),
    ],
)
def test_baselines_by_hand(name: str, past: list, season: int, expected: list) -> None:
    np.testing.assert_allclose(baseline(name, np.array(past, float), 3, season), expected)


def test_measures_by_hand() -> None:
    y, f = np.array([[1.0, 2.0], [NAN, 4.0]]), np.array([[2.0, 2.0], [9.0, 2.0]])
    assert metrics.mae(y, f) == 1 and metrics.mse(y, f) == pytest.approx(5 / 3)
    assert metrics.smape(y, f) == pytest.approx((200 / 3 + 0 + 400 / 6) / 3)
    assert metrics.smape(np.array([[0.0, 1.0]]), np.array([[0.0, 3.0]])) == 50  # 0 where both are 0, and 100
    scales = np.array([metrics.seasonal_scale(np.array([1.0, 3, 2, 7]), 2), 1.0])
    assert scales[0] == 2.5 and metrics.mase(y, f, scales) == pytest.approx((1 / 2.5 + 0 + 2) / 3)
    low, high = np.array([[0.0, 3.0], [0.0, 3.0]]), np.array([[1.0, 4.0], [9.0, 5.0]])
    assert metrics.coverage(y, low, high) == pytest.approx(2 / 3)
    assert metrics.msis(y, low, high, 0.9, np.ones(2)) == pytest.approx((1 + (1 + 20) + 2) / 3)


def test_the_figures_of_m4() -> None:
    """Naive2 has sMAPE 18.383 and MASE 2.395 on the hourly series, the seasonal naive 13.912, 1.193 and OWA .628."""
    folder = SHARED / "m4_hourly"
    if not folder.exists():
        pytest.skip(f"needs {folder}")
    parts = []
    for part in ("train", "test"):
        with (folder / f"Hourly-{part}.csv").open() as file:
            parts.append([np.array([float(v) for v in row[1:] if v]) for row in list(csv.reader(file))[1:]])
    past, y = parts[0], np.stack(parts[1])
    scales = np.array([metrics.seasonal_scale(p, 24) for p in past])
    reference = np.stack([naive2(p, 48, 24) for p in past])
    seasonal = np.stack([baseline("seasonal naive", p, 48, 24) for p in past])
    assert metrics.smape(y, reference) == pytest.approx(18.383, abs=5e-4)
    assert metrics.mase(y, reference, scales) == pytest.approx(2.395, abs=5e-4)
    assert metrics.smape(y, seasonal) == pytest.approx(13.912, abs=5e-4)
    assert metrics.mase(y, seasonal, scales) == pytest.approx(1.193, abs=5e-4)
    assert metrics.owa(y, seasonal, past, 24) == pytest.approx(0.6275, abs=5e-4)


def test_a_table_of_measures(fitted: Forecaster, table: pl.DataFrame) -> None:
    """Each figure from the frame that `backtest` gives, by polars."""
    found = fitted.backtest(table, n_windows=5, step_size=2, level=80)
    rows, frame = found.measure(warn=False), found.frame()
    assert list(rows) == ["this model", "naive", "seasonal naive", "drift"]
    assert frame.columns == ["unique_id", "ds", "cutoff", "y", "forecast", "lo-80", "hi-80"]
    assert len(frame) == 3 * 5 * 6
    error = frame["y"] - frame["forecast"]
    assert rows["this model"]["mae"] == pytest.approx(error.abs().mean())
    assert rows["this model"]["rmse"] == pytest.approx((error**2).mean() ** 0.5)
    inside = frame["y"].is_between(frame["lo-80"], frame["hi-80"])
    assert rows["this model"]["coverage-80"] == pytest.approx(inside.mean())
    last = frame.join(
        table.select("unique_id", pl.col("ds").alias("cutoff"), pl.col("y").alias("before")),
        on=["unique_id", "cutoff"],
    )
    assert rows["naive"]["mae"] == pytest.approx((last["y"] - last["before"]).abs().mean())
    assert (frame["ds"] > frame["cutoff"]).all()


def test_a_baseline_that_wins_is_told_of(table: pl.DataFrame) -> None:
    with pytest.warns(UserWarning, match=r"A simple baseline is at least as good: .* for seasonal naive"):
        model = Forecaster(**{**SMALL, "epochs": 1, "learning_rate": 1e-6}).fit(table)
    assert model.validation_ is not None
    assert model.validation_["seasonal naive"] < model.validation_["this model"]
    with pytest.warns(UserWarning, match="A simple baseline is at least as good"):
        model.backtest(table).measure()
