"""Ordered classes, counts and positive numbers from tables: fit, evaluate, predict, compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from .conftest import SMALL, run

WORDS = {"ban": 0.0, "cot": 0.4, "dim": 0.8, "fug": 1.2, "gel": 1.6}
GRADES = ["low", "mid", "high"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("targets")
    random = np.random.default_rng(0)
    rows = [random.choice([*WORDS], random.integers(1, 6)) for _ in range(300)]
    mean = np.exp([np.mean([WORDS[w] for w in row]) for row in rows])
    grade = np.digitize(mean, [1.8, 2.8])
    frame = pl.DataFrame(
        {
            "text": [" ".join(row) for row in rows],
            "grade": [GRADES[k] for k in grade],
            "stars": grade + 1,
            "count": random.poisson(mean),
            "price": mean * random.lognormal(0, 0.2, 300),
            "sum": random.poisson(mean) - 1,
        }
    )
    frame.write_csv(folder / "t.csv")
    frame.with_columns(pl.col("grade").cast(pl.Enum(GRADES))).write_parquet(folder / "t.parquet")
    return folder


def fit(tables: Path, target: str, *more: str, table: str = "t.csv", code: int = 0):
    out = tables / f"m-{target}-{len(more)}-{more[-1][-3:]}-{table}"
    arguments = (tables / table, "--input", "text", "--target", target, *more, "--out", out)
    return run("fit", *arguments, *SMALL, code=code), out


@pytest.mark.parametrize(
    ("target", "more", "table"),
    [
        ("grade", ("--task", "ordinal", "--order", "low, mid, high"), "t.csv"),
        ("grade", ("--task", "ordinal"), "t.parquet"),
        ("stars", ("--task", "ordinal"), "t.csv"),
        ("grade", ("--order", "low,mid,high"), "t.csv"),
    ],
)
def test_ordered_classes(tables, target, more, table):
    told, out = fit(tables, target, *more, table=table)
    assert "Task: ordinal" in told.stdout and "Weighted kappa" in told.stdout
    assert "TF-IDF + logistic regression" in told.stdout
    content = json.loads((out / "model.json").read_text())
    assert content["target"]["classes"] == (GRADES if target == "grade" else [1, 2, 3])
    found = json.loads((Path(f"{out}-report") / "metrics.json").read_text())["metrics"][target]
    assert found["kappa"] > 0.7
    again = run("evaluate", out, tables / table, "--input", "text", "--target", target).stdout
    assert f"{target}: 300 test rows" in again
    answer = run("predict", out, "gel gel fug").stdout.split("\t")
    assert answer[0] == ("high" if target == "grade" else "3") and answer[2] == "gel gel fug\n"


@pytest.mark.parametrize(
    ("target", "more", "name"),
    [
        ("count", ("--task", "count"), "Poisson"),
        ("count", ("--task", "count", "--loss", "negative_binomial"), "Poisson"),
        ("price", ("--task", "positive"), "gamma"),
        ("price", ("--loss", "lognormal"), "gamma"),
    ],
)
def test_counts_and_positive_numbers(tables, target, more, name):
    told, out = fit(tables, target, *more)
    assert f"TF-IDF + {name} regression" in told.stdout and "Deviance" in told.stdout
    assert f"Task: {'count' if target == 'count' else 'positive'}" in told.stdout
    found = pl.read_csv(
        run("predict", out, tables / "t.csv", "--input", "text", "--level", "80").stdout.encode()
    )
    assert found["prediction"].min() > 0 and found["prediction_low"].min() >= 0
    inside = (found["prediction_low"] <= found[target]) & (found[target] <= found["prediction_high"])
    assert inside.mean() > 0.6
    assert "Deviance" in run("evaluate", out, tables / "t.csv", "--input", "text", "--target", target).stdout


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ("grade", ("--task", "ordinal"), "no order of their own"),
        ("grade", ("--task", "ordinal", "--order", "low,high"), "has not: 'mid'"),
        ("grade", ("--task", "classification", "--order", "low,mid,high"), "--order is of --task ordinal"),
        ("sum", ("--task", "count"), "must hold counts, 0 or more"),
        ("count", ("--task", "positive"), "must hold numbers above 0"),
        ("count", ("--task", "count", "--loss", "gamma"), "goes with --loss poisson or negative_binomial"),
        ("grade", ("--task", "count"), "must hold finite numbers"),
    ],
)
def test_what_does_not_go_together_says_so(tables, target, more, message):
    told, out = fit(tables, target, *more, "--seed", "3", code=2)
    assert message in told.stderr and not out.exists()


def test_rows_outside_the_range_are_named(tables):
    told, _ = fit(tables, "sum", "--task", "count", code=2)
    frame = pl.read_csv(tables / "t.csv")
    first = int((frame["sum"] < 0).arg_max()) + 1
    assert f"row {first}: -1" in told.stderr


def test_compare_ranks_by_the_measure_of_the_task(tables):
    command = ("compare", tables / "t.csv", "--input", "text", "--target", "count", "--task", "count")
    more = ("--repeats", "1", "--cells", "gru", "--layouts", "one", "--poolings", "mean", "--jobs", "1")
    told = run(*command, *more, *SMALL, "--out", tables / "study").stdout
    assert "Deviance" in told
