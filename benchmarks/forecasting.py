"""`Forecaster` on public series: the tables of docs/results.md.

    python benchmarks/forecasting.py etth1 --horizons 96 --seeds 0 1 2
    python benchmarks/forecasting.py m4 airline pollution
    python benchmarks/forecasting.py etth1 --horizons 96 --validation --set hidden_size=256   # no look at the test part

Settings are in SETTINGS, chosen on validation parts. Results go to benchmarks/results/forecasting/, a file a run.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peers.record import ROOT, setting

import unspool
from unspool.forecasting import metrics
from unspool.forecasting.answers import actual, points_of
from unspool.forecasting.building import some_windows
from unspool.forecasting.panel import read_panel

DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "benchmarks" / "results" / "forecasting"
MONTH = 30 * 24

ETTH1 = {"segment_length": 24, "static": ("unique_id",), "dropout": 0.3, "stride": 2, "epochs": 12}
ETTH1 |= {"learning_rate": 2e-3, "averaging": 0.98}
AIRLINE = {"horizon": 12, "id_col": None, "validation_size": 24, "refit": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "etth1": {"input_size": 96, "hidden_size": 64},
    "etth1-long": {"input_size": 336, "hidden_size": 64},
    "m4": {"horizon": 48, "input_size": 168, "stride": 8, "epochs": 15, "validation_size": 48, "season": 24},
    "airline": {
        "normalization": "season",
        "hidden_size": 32,
        "batch_size": 16,
        "epochs": 300,
        "patience": 30,
    },
    "pollution": {"horizon": 24, "id_col": None, "stride": 4, "hidden_size": 64, "epochs": 10},
}


def etth1(overrides: dict[str, Any], seed: int, horizon: int, validation: bool) -> dict[str, float]:
    """Seven channels, a series each; mean squared error in units of the training part, 12/4/4 months."""
    wide = pl.read_csv(DATA / "ett" / "ETTh1.csv", try_parse_dates=True)[: 20 * MONTH]
    long = wide.unpivot(index="date", variable_name="unique_id", value_name="y").rename({"date": "ds"})
    name = "etth1" if horizon in (96, 192, 336, 720) else "etth1-long"
    settings = {"horizon": horizon, "validation_size": 4 * MONTH, **ETTH1, **SETTINGS[name], **overrides}
    model, seconds = fitted(long.filter(pl.col("ds") < wide["date"][16 * MONTH]), settings, seed)
    found = {"validation_mse": scaled_mse(model, long, 12 * MONTH, 16 * MONTH), "seconds": seconds}
    if validation:
        return {**found, "epochs": model.best_epoch_}
    count = 4 * MONTH - horizon + 1
    test = model.backtest(long, n_windows=count, step_size=1, level=90 if count > 30 else None)
    scale = model.preparation_.scales[test.series][:, None]
    found["mse"] = metrics.mse(test.y / scale, test.forecast / scale)
    found["mae"] = metrics.mae(test.y / scale, test.forecast / scale)
    found["coverage-90"] = metrics.coverage(test.y, test.bands["lo-90"], test.bands["hi-90"])
    for other in ("naive", "seasonal naive"):
        found[other] = metrics.mse(test.y / scale, test.baseline(other) / scale)
    return {**found, "epochs": model.best_epoch_}


def scaled_mse(model: Any, long: pl.DataFrame, start: int, end: int) -> float:
    """At every cut-off whose horizon lies within steps [start, end)."""
    panel = read_panel(long, model._names(), calendar=model.calendar_)
    cutoffs = np.arange(start, end - model.horizon + 1)
    series = np.repeat(np.arange(len(panel)), len(cutoffs))
    at = np.tile(cutoffs, len(panel))
    offsets, scales = model.preparation_.scales_of(panel)
    sizes = np.full(len(at), model.input_size_)
    windows = some_windows(model, model.preparation_.block(panel), series, at, sizes, scales)
    y, point = actual(panel, series, at, model.horizon), points_of(model, windows, offsets[series])
    unit = scales[series][:, None]
    return metrics.mse(y / unit, point / unit)


def m4(overrides: dict[str, Any], seed: int, horizon: int, validation: bool) -> dict[str, float]:
    """The 414 hourly series; OWA over the last 48 hours, or with `validation` over the 48 before."""
    past, last = (m4_rows(part) for part in ("train", "test"))
    if validation:
        past, last = [p[:-48] for p in past], [p[-48:] for p in past]
    settings = {**SETTINGS["m4"], **overrides}
    model, seconds = fitted(past, settings, seed)
    table = model.predict(level=[90] if not settings.get("refit") else None)
    forecast = table["y"].to_numpy().reshape(len(past), 48)
    y = np.stack(last)
    scales = np.array([metrics.seasonal_scale(p, 24) for p in past])
    found = {"owa": metrics.owa(y, forecast, past, 24), "smape": metrics.smape(y, forecast)}
    found["mase"] = metrics.mase(y, forecast, scales)
    if "lo-90" in table.columns:
        low, high = (table[name].to_numpy().reshape(y.shape) for name in ("lo-90", "hi-90"))
        found["coverage-90"] = metrics.coverage(y, low, high)
    return {**found, "seconds": seconds, "epochs": model.best_epoch_}


def m4_rows(part: str) -> list[np.ndarray]:
    """Hours of each series."""
    with (DATA / "m4_hourly" / f"Hourly-{part}.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    return [np.array([float(v) for v in row[1:] if v]) for row in rows]


def airline(overrides: dict[str, Any], seed: int, horizon: int, validation: bool) -> dict[str, float]:
    """Passengers: a year ahead at every month of the last third, by a model that has seen the first two thirds."""
    table = pl.read_csv(DATA / "series" / "airline-passengers.csv").rename({"Month": "ds", "Passengers": "y"})
    return one_series(table, 96, {**AIRLINE, **SETTINGS["airline"], **overrides}, seed, validation)


def pollution(overrides: dict[str, Any], seed: int, horizon: int, validation: bool) -> dict[str, float]:
    """Beijing PM2.5: a day ahead at every hour of the last year, weather known up to now."""
    raw = pl.read_csv(DATA / "series" / "pollution.csv", null_values="NA", infer_schema_length=None)
    stamps = [datetime(*row) for row in raw.select("year", "month", "day", "hour").rows()]
    table = raw.select(
        pl.Series("ds", stamps),
        pl.col("pm2.5").alias("y"),
        "DEWP",
        "TEMP",
        "PRES",
        pl.col("Iws").log1p(),
    )
    settings = {"past": ("DEWP", "TEMP", "PRES", "Iws"), **SETTINGS["pollution"], **overrides}
    return one_series(table, len(table) - 365 * 24, settings, seed, validation)


def one_series(
    table: pl.DataFrame, end: int, settings: dict[str, Any], seed: int, validation: bool
) -> dict[str, float]:
    """Fit on the rows before `end`, forecast at every step after."""
    model, seconds = fitted(table[:end], settings, seed)
    found = {**{f"validation {k}": v for k, v in (model.validation_ or {}).items()}, "seconds": seconds}
    found["epochs"] = model.best_epoch_
    if validation:
        return found
    count = len(table) - end - model.horizon + 1
    test = model.backtest(table, n_windows=count, step_size=1, level=90)
    rows = test.measure(warn=False)
    first = {"rmse, step 1": metrics.rmse(test.y[:, :1], test.forecast[:, :1])}
    first["persistence rmse, step 1"] = metrics.rmse(test.y[:, :1], test.baseline("naive")[:, :1])
    measures = {f"{n} {k}": v for n, row in rows.items() for k, v in row.items() if k in ("mae", "rmse")}
    return {**found, **measures, **first, "coverage-90": rows["this model"]["coverage-90"]}


def fitted(data: Any, settings: dict[str, Any], seed: int) -> tuple[Any, float]:
    """(model, seconds)."""
    model = unspool.Forecaster(**{"verbose": 0, **settings}, random_state=seed)
    started = time.perf_counter()
    model.fit(data)
    return model, time.perf_counter() - started


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "etth1": etth1,
    "m4": m4,
    "airline": airline,
    "pollution": pollution,
}


def main() -> None:
    """Run what is asked, print a line a run and a line a task with mean and spread."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--horizons", type=int, nargs="+", default=[24, 48, 168, 96, 192, 336, 720])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--validation", action="store_true", help="measure the validation part alone")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="overrides")
    options = parser.parse_args()
    overrides = {k: ast.literal_eval(v) for k, v in (item.split("=", 1) for item in options.overrides)}
    warnings.simplefilter("ignore")
    for task in options.tasks:
        for horizon in options.horizons if task == "etth1" else [0]:
            name = f"{task}-{horizon}" if horizon else task
            rows = []
            for seed in options.seeds:
                row = TASKS[task](overrides, seed, horizon, options.validation)
                rows.append(row)
                print(
                    name, "seed", seed, {k: round(v, 4) for k, v in row.items()}, overrides or "", flush=True
                )
                if not options.validation and not overrides:
                    record(name, seed, row)
            if len(rows) > 1:
                mean = {
                    k: f"{np.mean([r[k] for r in rows]):.4f} ± {np.std([r[k] for r in rows]):.4f}"
                    for k in rows[0]
                }
                print(name, "mean", mean, flush=True)


def record(name: str, seed: int, row: dict[str, float]) -> None:
    """A file of one run."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = {
        "task": name,
        "seed": seed,
        "figures": row,
        "settings": {**SETTINGS, "etth1, all": ETTH1},
        "setting": setting(),
    }
    Path(RESULTS / f"{name}-{seed}.json").write_text(json.dumps(document, indent=1, default=str))


if __name__ == "__main__":
    main()
