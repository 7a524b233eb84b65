"""`unspool fit --task forecasting`, `predict` and `evaluate` of a saved forecaster."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import unspool

from .conftest import run

OPTIONS = [
    "--task",
    "forecasting",
    "--id",
    "shop",
    "--time",
    "day",
    "--target",
    "sold",
    "--horizon",
    "7",
    "--quiet",
]
OPTIONS += ["--hidden-size", "8", "--epochs", "3", "--future", "promo"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sales.csv (dates in text, a decimal comma) and a model of it."""
    place = tmp_path_factory.mktemp("forecasting")
    rng = np.random.default_rng(0)
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 6, 30), eager=True)
    parts = []
    for shop in ("north", "south"):
        promo = rng.integers(0, 2, len(days))
        sold = (
            20 + 5 * np.sin(2 * np.pi * np.arange(len(days)) / 7) + 4 * promo + rng.standard_normal(len(days))
        )
        numbers = [f"{value:.3f}".replace(".", ",") for value in sold]
        parts.append(pl.DataFrame({"shop": [shop] * len(days), "day": days, "sold": numbers, "promo": promo}))
    table = pl.concat(parts)
    past = table.filter(pl.col("day") <= pl.date(2024, 6, 20))
    past.write_csv(place / "sales.csv", separator=";")
    table.filter(pl.col("day") > pl.date(2024, 6, 20)).drop("sold").write_csv(
        place / "promos.csv", separator=";"
    )
    reading = ["--delimiter", ";", "--decimal", ","]
    done = run("fit", place / "sales.csv", *OPTIONS, *reading, "--out", place / "model", "--level", "80")
    (place / "fit.txt").write_text(done.output)
    return place


READING = ["--delimiter", ";", "--decimal", ","]


def test_fit_measures_beside_the_baselines(folder: Path) -> None:
    told = (folder / "fit.txt").read_text()
    for word in ("2 forecasts of 7 steps", "this model", "naive", "seasonal naive", "drift", "coverage-80"):
        assert word in told


def test_a_column_weighs_the_rows(tmp_path: Path) -> None:
    weights = np.r_[np.ones(40), np.linspace(0, 3, 40)]
    table = pl.DataFrame({"ds": range(80), "y": np.sin(np.arange(80)), "trust": weights, "sign": -weights})
    table.write_csv(tmp_path / "table.csv")
    command = ["fit", tmp_path / "table.csv", "--task", "forecasting", "--id", "none", "--horizon", "5"]
    command += ["--hidden-size", "4", "--epochs", "1", "--quiet", "--test-windows", "0"]
    run(*command, "--out", tmp_path / "model", "--weight", "trust")
    settings = {"id_col": None, "hidden_size": 4, "epochs": 1, "verbose": 0, "random_state": 0}
    direct = unspool.Forecaster(5, **settings).fit(table, sample_weight=weights)
    found = unspool.load(tmp_path / "model").predict()["y"].to_numpy()
    np.testing.assert_allclose(found, direct.predict()["y"].to_numpy(), rtol=1e-5)
    plain = unspool.Forecaster(5, **settings).fit(table).predict()["y"].to_numpy()
    assert np.abs(found - plain).max() > 1e-5
    refused = run(*command, "--out", tmp_path / "other", "--weight", "sign", code=2).stderr
    assert "must hold weights, numbers of 0 or more. Row 1 has -1." in refused


def test_predict(folder: Path) -> None:
    future = ["--future", folder / "promos.csv"]
    done = run("predict", folder / "model", *future, "--level", "80", *READING)
    frame = pl.read_csv(done.stdout.encode())
    assert frame.columns == ["shop", "day", "sold", "lo-80", "hi-80"]
    assert frame["day"].to_list()[:2] == ["2024-06-21", "2024-06-22"] and frame.height == 14
    run("predict", folder / "model", folder / "sales.csv", *future, *READING, "--out", folder / "f.parquet")
    np.testing.assert_allclose(pl.read_parquet(folder / "f.parquet")["sold"], frame["sold"], atol=1e-9)
    assert "needs 'promo' of the 7 steps ahead" in run("predict", folder / "model", code=2).output


def test_evaluate(folder: Path) -> None:
    out, report = folder / "back.csv", folder / "measures.json"
    command = ["evaluate", folder / "model", folder / "sales.csv", "--windows", "3", "--step", "1", *READING]
    done = run(*command, "--level", "80", "--out", out, "--report", report)
    assert "6 forecasts of 7 steps" in done.output
    frame = pl.read_csv(out)
    assert frame.columns == ["shop", "day", "cutoff", "sold", "forecast", "lo-80", "hi-80"]
    measured = json.loads(report.read_text())
    assert measured["this model"]["mae"] == pytest.approx((frame["sold"] - frame["forecast"]).abs().mean())


def test_help_and_other_commands(folder: Path) -> None:
    told = run("fit", "--task", "forecasting", "--help").output
    assert "--horizon" in told and "--input" not in told.replace("--input-size", "")
    served = run("stream", folder / "model", code=2).output
    assert "unspool stream does not work with the task 'forecasting'" in served


def test_inspect(folder: Path) -> None:
    told = run("inspect", folder / "model", "--curves").stdout
    assert told.startswith("Forecaster on 2 series, windows of") and "whose weights are kept" in told
    layers = told.split("\n\n")[0].splitlines()
    counts = [int(line.split()[-1].replace(",", "")) for line in layers[2:]]
    assert sum(counts[:-1]) == counts[-1] > 0
    assert "seasonal naive" in told and "hidden_size" in told
    assert (folder / "model-inspect" / "curves.png").stat().st_size > 1000
    assert "ask for it by --curves" in run("inspect", folder / "model", "--out", folder / "x", code=2).stderr


def test_wrong_tables(folder: Path) -> None:
    command = ["fit", folder / "sales.csv", "--task", "forecasting", "--out", folder / "other"]
    assert "no column 'unique_id'" in run(*command, *READING, code=2).output
    assert not (folder / "other").exists()
