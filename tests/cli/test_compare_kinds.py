"""`unspool compare --task ...`: its table is that of `unspool.study.compare`, its model serves the other commands."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

import unspool

from .conftest import run

WORDS = ["fly to rome now", "rome to oslo", "now to bonn fly", "oslo now", "fly fly lima"] * 8
SMALL = ["--hidden-size", "4", "--epochs", "2", "--repeats", "1", "--jobs", "1"]
CITIES = ("rome", "oslo", "bonn", "lima")
KINDS = {
    "tagging": (["--no-crf", "--characters", "none"], "gru/one,lstm/bidirectional", "span_f1"),
    "generation": (
        ["--batch-size", "2", "--chunk-length", "8", "--equal-parameters"],
        "gru/one,lstm/stacked",
        "nats_per_token",
    ),
    "seq2seq": (["--input", "a", "--target", "b"], "gru/additive/one", "exact_match"),
    "forecasting": (["--id", "none", "--horizon", "4"], "gru/segments/one,gru/recurrent/one", "mae"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    lines = [f"{w}\t{'B-city' if w in CITIES else 'O'}" for text in WORDS for w in [*text.split(), ""]]
    (folder / "tagging").write_text(
        "\n".join(line.strip("\tO") if line[0] == "\t" else line for line in lines)
    )
    (folder / "generation").write_text("\n".join(WORDS))
    pairs = [f"{text} {i}" for i, text in enumerate(WORDS)]
    pl.DataFrame({"a": pairs, "b": [p[:4].upper() for p in pairs]}).write_csv(folder / "seq2seq")
    y = [math.sin(i) + i % 3 for i in range(80)]
    pl.DataFrame({"ds": list(range(80)), "y": y}).write_csv(folder / "forecasting")
    return folder


@pytest.mark.parametrize("kind", [*KINDS])
def test_a_study(files, tmp_path, kind):
    options, names, metric = KINDS[kind]
    form = [] if kind in ("tagging", "generation") else ["--format", "csv"]
    command = ["compare", files / kind, "--task", kind, *options, *form, *SMALL, "--arrangements", names]
    output = run(*command, "--out", tmp_path / "study").output
    assert "Best on the validation part" in output and "The model: " in output
    frame = pl.read_csv(tmp_path / "study" / "table.csv")
    first = len(names.split(","))
    assert sorted(frame["arrangement"][:first]) == sorted(names.split(","))
    assert frame["status"][first:].unique().to_list() == ["baseline"] and frame["test_mean"].null_count() == 0
    assert frame["hidden_size"][:first].n_unique() == 1 + ("--equal-parameters" in options)
    runs = pl.read_csv(tmp_path / "study" / "runs.csv")
    best = runs.filter(pl.col("name") == frame["arrangement"][0])[f"validation_{metric}"]
    assert frame["mean"][0] == pytest.approx(best.mean())
    model = unspool.load(tmp_path / "study" / "model")
    assert model.cell == frame["arrangement"][0].split("/")[0] and model.epochs == 2


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("tagging", ["--arrangements", "gru/last/one"], "names such as 'lstm/stacked'"),
        ("generation", ["--layouts", "bidirectional"], "--layouts"),
        ("seq2seq", ["--attentions", "both"], "'multiplicative', 'additive'"),
        ("forecasting", ["--models", "segment"], "Did you mean 'segments'?"),
        ("forecasting", ["--cv", "3"], "say by validation how many"),
        ("tagging", ["--metric", "f1"], "--metric"),
    ],
)
def test_wrong_options(files, tmp_path, kind, options, message):
    form = [] if kind in ("tagging", "generation") else ["--format", "csv"]
    command = ["compare", files / kind, "--task", kind, *KINDS[kind][0], *form, *options]
    done = run(*command, "--out", tmp_path / "study", code=2)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and message in lines[0] and not (tmp_path / "study").exists()
