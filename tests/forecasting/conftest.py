"""Small series whose forecast is known, and forecasters trained on them once a session."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from unspool import Forecaster

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = {"horizon": 6, "segment_length": 3, "input_size": 12, "season": 6, "hidden_size": 8, "batch_size": 16}
SMALL |= {
    "epochs": 12,
    "learning_rate": 0.02,
    "averaging": 0.9,
    "random_state": 0,
    "verbose": 0,
    "patience": None,
}


def waves(counts: dict[str, int], seed: int = 0, noise: float = 0.3) -> pl.DataFrame:
    """Hourly series of period 6, each at a level of its own; columns unique_id, ds, y, beside, promo, kind."""
    rng = np.random.default_rng(seed)
    parts = []
    for k, (name, count) in enumerate(counts.items()):
        t = np.arange(count)
        promo = rng.integers(0, 2, count).astype(float)
        y = 10 * k + 5 + 3 * np.sin(2 * np.pi * t / 6) + 2 * promo + noise * rng.standard_normal(count)
        start = datetime(2024, 1, 1)
        parts.append(
            pl.DataFrame(
                {
                    "unique_id": [name] * count,
                    "ds": [start + timedelta(hours=int(i)) for i in t],
                    "y": y,
                    "beside": rng.standard_normal(count),
                    "promo": promo,
                    "kind": ["odd" if k % 2 else "even"] * count,
                }
            )
        )
    return pl.concat(parts)


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    return waves({"a": 120, "b": 90, "c": 150})


@pytest.fixture(scope="session")
def fitted(table: pl.DataFrame) -> Forecaster:
    """Without covariates, by segments."""
    return Forecaster(**SMALL).fit(table)


@pytest.fixture(scope="session")
def covered(table: pl.DataFrame) -> Forecaster:
    """With covariates of each kind and time features."""
    return Forecaster(
        **SMALL,
        past=("beside",),
        future=("promo",),
        static=("kind", "unique_id"),
        time_features=("hour", "weekday"),
    ).fit(table)


def ahead(table: pl.DataFrame, h: int, promo: float = 1.0) -> pl.DataFrame:
    """The future table: promo of the h hours after each series."""
    ends = table.group_by("unique_id", maintain_order=True).agg(pl.col("ds").max())
    rows = [
        {"unique_id": name, "ds": end + timedelta(hours=k + 1), "promo": promo}
        for name, end in ends.rows()
        for k in range(h)
    ]
    return pl.DataFrame(rows)
