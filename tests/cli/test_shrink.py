"""`unspool shrink`: narrower weights, and what they cost on a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import unspool
from unspool.evaluation.metrics import regression_metrics

from .conftest import reviews, run


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_sizes_and_the_change_of_metrics(weights: str, trained: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "small.zip", reviews(80, seed=7)
    table.write_csv(tmp_path / "new.csv")
    columns = ["--input", "text", "--target", "score"]
    done = run(
        "shrink", trained / "model", tmp_path / "new.csv", *columns, "--weights", weights, "--out", out
    ).stdout
    assert f"{out}: {out.stat().st_size:,} bytes" in done
    assert re.search(rf"(?m)^ *{weights} ", done) and re.search("(?m)^ *float32 ", done)
    texts, y = table["text"].to_list(), table["score"].to_numpy()
    now, then = (regression_metrics(y, unspool.load(p).predict(texts)) for p in (out, trained / "model"))
    assert f"rmse {now['rmse'] - then['rmse']:+.2g}" in done


def test_without_a_table(trained: Path, tmp_path: Path) -> None:
    done = run("shrink", trained / "model", "--out", tmp_path / "small").stdout
    assert "Measure what it lost" in done and unspool.load(tmp_path / "small").predict(["good"]).shape == (1,)
    assert "--out" in run("shrink", trained / "model", code=2).stderr
    lost = run("shrink", trained / "model", trained / "reviews.csv", "--out", tmp_path / "s", code=2).stderr
    assert "--input and --target" in lost
    lost = run("shrink", trained / "model", "--input", "text", "--out", tmp_path / "s", code=2).stderr
    assert "give one" in lost and not (tmp_path / "s").exists()
    before = (tmp_path / "small" / "weights.safetensors").read_bytes()
    lost = run("shrink", tmp_path / "small", "--weights", "int8", "--out", tmp_path / "small" / ".", code=2)
    assert "is the model itself, which would be lost" in lost.stderr
    assert (tmp_path / "small" / "weights.safetensors").read_bytes() == before


def test_other_kinds(tmp_path: Path) -> None:
    writer = unspool.SequenceGenerator(hidden_size=3, embedding_dim=3, epochs=1, verbose=0)
    writer.fit("a day and a night. " * 30).save(tmp_path / "writer")
    assert "bytes" in run("shrink", tmp_path / "writer", "--out", tmp_path / "small").stdout
    lost = run(
        *("shrink", tmp_path / "writer", tmp_path / "t.csv", "--input", "a", "--target", "b"),
        *("--out", tmp_path / "s"),
        code=2,
    ).stderr
    assert "A table is for regressors and classifiers of texts" in lost and not (tmp_path / "s").exists()
