"""Several labels a text: fit, evaluate and predict, from columns of 0 and 1 or from one of joined labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from .conftest import SMALL, run

TOPICS = {"sport": ["ball", "goal"], "money": ["bank", "coin"], "food": ["cake"]}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    words = ["ball", "goal", "bank", "coin", "cake", "and", "the"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 5))) for _ in range(240)]
    yes = {name: [int(any(w in of for w in t.split())) for t in texts] for name, of in TOPICS.items()}
    pl.DataFrame({"text": texts, **yes}).write_csv(folder / "columns.csv")
    tags = ["; ".join(name for name in TOPICS if yes[name][i]) for i in range(240)]
    pl.DataFrame({"text": texts, "tags": tags}).write_csv(folder / "joined.csv")
    return folder


TARGETS = [word for name in TOPICS for word in ("--target", name)]


def test_columns_of_zero_and_one(tables):
    told = run(
        "fit", tables / "columns.csv", "--input", "text", *TARGETS, "--out", tables / "m", *SMALL
    ).stdout
    assert "Task: multilabel (3 targets of 0 and 1)." in told and "Micro F1" in told
    report = json.loads((tables / "m-report" / "metrics.json").read_text())
    assert report["metrics"]["3 labels"]["micro_f1"] > 0.8
    assert (tables / "m-report" / "predicted_vs_true.png").stat().st_size > 1000
    again = run("evaluate", tables / "m", tables / "columns.csv", "--input", "text", *TARGETS).stdout
    assert "3 labels: 240 test rows" in again
    told = run("predict", tables / "m", "ball and bank", "the the").stdout
    assert told == "sport, money\tball and bank\n-\tthe the\n"
    found = pl.read_csv(
        run("predict", tables / "m", tables / "columns.csv", "--input", "text").stdout.encode()
    )
    assert (found["prediction_sport"] == found["sport"]).mean() > 0.9


def test_one_column_of_joined_labels(tables):
    table = tables / "joined.csv"
    common = ("--input", "text", "--target", "tags", "--label-separator", ";")
    told = run("fit", table, *common, "--test", table, "--out", tables / "j", *SMALL).stdout
    assert "Task: multilabel ('tags' holds labels joined by ';')." in told
    assert "3 labels: 240 test rows" in run("evaluate", tables / "j", table, *common).stdout
    assert list(pl.read_csv(tables / "j-report" / "test_predictions.csv").columns) == [
        *("row", "text", "food", "money", "sport"),
        *(f"{kind}_{name}" for kind in ("predicted", "probability") for name in ("food", "money", "sport")),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "sport", "--task", "multilabel"), "--label-separator names"),
        (("--target", "sport", "--target", "food", "--label-separator", ";"), "goes with one --target"),
        (("--target", "sport", "--task", "regression", "--label-separator", ";"), "--task multilabel"),
        (("--target", "sport", "--target", "food", "--task", "classification"), "use --task multilabel"),
    ],
)
def test_what_does_not_go_together_says_so(tables, arguments, message):
    command = ("fit", tables / "columns.csv", "--input", "text", *arguments, "--out", tables / "x")
    assert message in run(*command, code=2).stderr
    assert not (tables / "x").exists()


def test_compare_takes_one_label(tables):
    command = ("compare", tables / "columns.csv", "--input", "text", *TARGETS, "--out", tables / "study")
    assert "compare takes one label a text" in run(*command, code=2).stderr
