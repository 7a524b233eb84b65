"""`unspool fit --stream`: a table in pieces, measured as any other."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from .conftest import SMALL, reviews, run


@pytest.mark.parametrize(
    ("target", "more"),
    [("score", ()), ("mood", ()), ("stars", ("--task", "ordinal")), ("stars", ("--task", "count"))],
)
def test_it_is_fitted_and_measured(tmp_path, target, more):
    frame = reviews(240).drop("split")
    frame = frame.with_columns(stars=np.clip(np.round(frame["score"].to_numpy()), -1, 1).astype(int) + 1)
    frame.write_parquet(tmp_path / "t.parquet")
    named = (tmp_path / "t.parquet", "--input", "text", "--target", target)
    told = run("fit", *named, *more, "--stream", "--out", tmp_path / "m", *SMALL).stdout
    assert "192 training, 48 test (test rows drawn), read in pieces" in told and "TF-IDF" in told
    found = json.loads((tmp_path / "m-report" / "metrics.json").read_text())
    assert found["rows"]["test"] == 48 and target in found["metrics"]
    assert pl.read_csv(tmp_path / "m-report" / "test_predictions.csv").height == 48
    assert "240 test rows" in run("evaluate", tmp_path / "m", *named).stdout


def test_a_test_table_columns_beside_and_short_epochs(tmp_path):
    frame = reviews(120).with_columns(size=np.arange(120) / 9)
    frame.write_ndjson(tmp_path / "t.jsonl")
    (tmp_path / "cache").mkdir()
    told = run(
        *(
            "fit",
            tmp_path / "t.jsonl",
            "--input",
            "text",
            "--target",
            "score",
            "--numeric",
            "size",
            "--stream",
        ),
        *("--test", tmp_path / "t.jsonl", "--epoch-batches", "2", "--cache", tmp_path / "cache"),
        *("--out", tmp_path / "m", *SMALL),
    ).stdout
    assert "120 training, 120 test (test rows from t.jsonl)" in told
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--cache", "."), "--epoch-batches and --cache are of --stream"),
        (("--stream", "--split-column", "split"), "needs the table as a whole"),
        (("--stream", "--resume"), "keeps no checkpoint"),
        (("--stream", "--cache", "nowhere"), "must be a folder"),
        (("--stream", "--format", "json"), "has no pieces"),
    ],
)
def test_what_does_not_go_together_says_so(table, tmp_path, more, message):
    command = ("fit", table, "--input", "text", "--target", "score", *more, "--out", tmp_path / "m")
    assert message in run(*command, code=2).stderr
