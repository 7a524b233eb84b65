"""Everything that a person can get wrong: one line on stderr, exit code 2, no traceback, nothing saved."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import unspool

from .conftest import SMALL, reviews, run


def one_error(result) -> str:
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]


def fit(path: Path, *more: object, code: int = 2, target: str = "score"):
    out = path.parent / "model"
    result = run("fit", path, "--input", "text", "--target", target, "--out", out, *SMALL, *more, code=code)
    if code:
        assert not out.exists() and not out.with_name("model-report").exists()
    return result


@pytest.mark.parametrize(
    ("csv", "arguments", "message"),
    [
        ("text,scores\na,1\n", [], "no column 'score'. It has 'text', 'scores'. Did you mean 'scores'?"),
        ("text,score\na,1.5\nb,x\nc,2\nd,3\n", [], "row 2: 'x'"),
        ("text,score\na,1.5\nb,\nc,2\n", [], "has 1 missing value: row 2 "),
        ("text,score\na,1.5\n,2\nc,NA\n", [], "Column 'text' of t.csv has 1 missing value: row 2 "),
        ("text,score\n", [], "no rows below its header"),
        ("", [], "is empty"),
        ("text,score\na,1.5\n", [], "1 row is too few"),
        ("text,score\na,yes\nb,yes\nc,yes\nd,yes\n", [], "only one class in the 3 training rows: 'yes'"),
        ("text,score\na,1.5\nb,1.5\nc,1.5\nd,1.5\n", [], "only one value in the 3 training rows: 1.5"),
        ('text,score\na,1\n"b,2\n', [], "line 3: a quote is never closed"),
        (b"text,score\ncaf\xe9,1\n", [], "--encoding latin-1"),
        ("text,score\na,1\nb,2\n", ["--split-column", "splt"], "no column 'splt'"),
        ("text,score\na,1\nb,2\n", ["--split-column", "score"], "must hold train, dev"),
        ("text,score\na,1\nb,2\n", ["--task", "regresion"], "Did you mean 'regression'?"),
        ("text,score\na,1\nb,2\n", ["--test-fraction", "1.5"], "a number in (0, 1). Got 1.5."),
        (
            "text,score\na,1\nb,2\n",
            ["--test-fraction", "0.5", "--split-column", "text"],
            "both say which rows",
        ),
        ("text,score\na,1\nb,2\n", ["--target", "text"], "must be different columns"),
        ("text,score\na,1\nb,2\n", ["--format", "parquet"], "as Parquet"),
        (
            "text,score\na,1\nb,2\n",
            ["--hidden-size", "64,many"],
            "'--hidden-size': expected a whole number, or several joined by commas. Got '64,many'.",
        ),
        ("text,score\na,1\nb,2\n", ["--zoneout", "0.1;0.2"], "expected a number, or several"),
    ],
)
def test_tables_and_options(tmp_path, csv, arguments, message):
    path = tmp_path / "t.csv"
    path.write_bytes(csv if isinstance(csv, bytes) else csv.encode())
    assert message in one_error(fit(path, *arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cell", "lstn"], "Did you mean 'lstm'?"),
        (["--hidden-size", "0"], "an int in [1, inf). Got 0."),
        (["--pooling", "las"], "las"),
        (["--dropout", "1.5"], "1.5"),
        (["--seed", "-1"], "error: --seed must be an int in [0, inf). Got -1."),
        (["--seed", "99999999999"], "an int in [0, 2^32)"),
        (["--weight", "mood"], "Column 'mood' of reviews.csv must hold finite numbers"),
        (["--weight", "wieght"], "no column 'wieght'"),
        (["--weight", "score", "--stream"], "--weight needs the table as a whole"),
    ],
)
def test_settings_of_the_model(table, arguments, message):
    result = fit(table, *arguments)
    assert message in one_error(result) and "warning" not in result.stderr  # before the rows are looked at


def test_a_training_part_of_one_row_has_no_linear_part(tmp_path):
    reviews(40).write_csv(tmp_path / "t.csv")
    fit(tmp_path / "t.csv", "--validation-fraction", "0.99", "--epochs", "1", code=0)
    assert unspool.load(tmp_path / "model").blend_ is None


def test_missing_values_can_be_dropped(tmp_path):
    frame = reviews(60).with_columns(
        pl.when(pl.int_range(60) < 4).then(None).otherwise(pl.col("score")).alias("score")
    )
    frame.write_csv(tmp_path / "t.csv")
    assert "4 missing values: rows 1, 2, 3, 4 " in one_error(fit(tmp_path / "t.csv"))
    output = fit(tmp_path / "t.csv", "--drop-missing", "--epochs", "1", code=0).stdout
    assert "4 rows with missing values dropped." in output


def test_out_that_is_no_model_is_left_alone(table, tmp_path):
    for name in ("folder", "file"):
        out = tmp_path / name
        if name == "folder":
            out.mkdir()
            (out / "thesis.txt").write_text("precious")
        else:
            out.write_text("precious")
        result = run("fit", table, "--input", "text", "--target", "score", "--out", out, code=2)
        assert "something that is not a saved model is there" in one_error(result)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "precious"


def test_a_model_is_replaced(table, tmp_path):
    for cell in ("rnn", "gru"):
        fit(table, "--epochs", "1", "--cell", cell, code=0)
    assert unspool.load(tmp_path / "model").cell == "gru"


@pytest.mark.parametrize("command", ["predict", "inspect", "evaluate"])
def test_unknown_or_damaged_model(command, trained, tmp_path):
    more = {"predict": ["text"], "inspect": []}.get(command)
    if more is None:
        more = [trained / "reviews.csv", "--input", "text", "--target", "score"]
    assert "nothing" in one_error(run(command, tmp_path / "nothing", *more, code=2))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.json").write_text('{"format')
    assert "broken" in one_error(run(command, broken, *more, code=2))


def test_no_disk_space(table, tmp_path, monkeypatch):
    from unspool import estimators

    def full(self, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(estimators.SequenceRegressor, "save", full)
    line = one_error(fit(table, "--epochs", "1"))
    assert "No space left on device" in line and str(tmp_path / "model") in line


def test_debug_shows_the_traceback(table):
    from unspool.errors import DataError

    result = fit(table, "--input", "nothing", "--debug", code=1)
    assert isinstance(result.exception, DataError)


def test_an_unexpected_error_is_not_hidden(table, monkeypatch):
    from unspool import estimators

    monkeypatch.setattr(estimators.SequenceRegressor, "fit", lambda *_, **__: 1 / 0)
    assert isinstance(fit(table, code=1).exception, ZeroDivisionError)


def test_ctrl_c_saves_the_best_model_so_far(tmp_path):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["good", "awful", "the", "day"], 12)) for _ in range(400)]
    scores = [text.count("good") - text.count("awful") + rng.normal() for text in texts]
    pl.DataFrame({"text": texts, "score": scores}).write_csv(tmp_path / "t.csv")
    command = [sys.executable, "-u", "-m", "unspool", "fit", "t.csv", "--input", "text", "--target", "score"]
    command += ["--out", "model", "--epochs", "100000", "--no-early-stopping", "--hidden-size", "4"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if len(seen) > 6:  # two lines before training, then one an epoch
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted: the best model so far is saved in model, not evaluated." in errors
    assert unspool.load(tmp_path / "model").predict(["good good", "awful"]).shape == (2,)


def test_ctrl_c_before_training_saves_nothing(table, tmp_path, monkeypatch):
    from unspool.cli import data

    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "prepare", pressed)
    result = fit(table, code=130)
    assert result.stderr == "interrupted: nothing was saved.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit words.conll --task taging --out x", "Did you mean 'tagging'?"),
        (
            "fit words.conll --out x",
            "'words.conll' is no table: for the tags of its words say --task tagging.",
        ),
        ("compare plays.txt --out x", "say --task generation; of a table name --format and --input"),
        ("predict nowhere", "Cannot load the model 'nowhere': there is nothing at this path."),
        ("evaluate nowhere words.conll", "Cannot load the model 'nowhere': there is nothing at this path."),
    ],
)
def test_what_a_newcomer_types(arguments, message):
    assert message in run(*arguments.split(), code=2).stderr
