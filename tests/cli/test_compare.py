"""`unspool compare`: the folder it leaves, its options, its errors, and going on after it was killed."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys

import polars as pl
import pytest

import unspool
from unspool import study
from unspool.cli.compare import compare as compare_command
from unspool.cli.fit import fit as fit_command
from unspool.cli.studying import parse_duration
from unspool.errors import DataError
from unspool.study.kinds.targets import TargetProblem

from .conftest import SMALL, reviews, run

NAMES = ["--arrangements", "gru/last/one,rnn/max/bidirectional", "--repeats", "2", "--jobs", "1"]
TINY = [*SMALL[:-1], "--epochs", "2"]  # not quiet


def columns(folder) -> pl.DataFrame:
    frame = pl.read_csv(folder / "table.csv")
    return frame.drop([name for name in frame.columns if "seconds" in name])


def test_table_report_and_model(table, tmp_path):
    out = tmp_path / "study"
    command = ["compare", table, "--input", "text", "--target", "mood", *NAMES, *TINY, "--out", out]
    output = run(*command).stdout
    assert "Task: classification" in output and "Rows: 48 training, 12 test" in output
    assert "2/4  rnn/max/bidirectional  seed 0: Accuracy" in output and "left" in output
    frame = pl.read_csv(out / "table.csv")
    assert frame["arrangement"].to_list()[2:] == ["majority", "TF-IDF + logistic regression"]
    assert frame["runs"].to_list() == [2, 2, 1, 1] and frame["test_mean"].null_count() == 0
    assert (out / "report.html").read_text().startswith("<!DOCTYPE html>")
    model = unspool.load(out / "model")
    assert f"{model.cell}/{model.pooling}/" in frame["arrangement"][0]
    assert len(run("predict", out / "model", "good day", "awful").stdout.splitlines()) == 2
    before = columns(out)
    assert "2/4" not in run(*command).stdout and columns(out).equals(before)


def test_interrupted_then_finished(table, tmp_path):
    command = ["compare", str(table), "--input", "text", "--target", "score", *NAMES, *TINY, "--epochs", "8"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "unspool", *command, "--repeats", "40", "--out", "study"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in process.stdout:
        if line.strip().startswith("3/80"):
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors
    kept = len(list((tmp_path / "study" / "runs").glob("*.json"))) - 1
    assert 3 <= kept < 80 and "The study was interrupted." in output and "arrangement " in output
    assert f"interrupted: {kept} runs are kept in study; the same command goes on." in errors
    # what a kill in the middle of writing leaves behind
    (tmp_path / "study" / "runs" / "gru.json.part").write_text('[{"name": "gru')
    run(*command, "--repeats", "3", "--out", tmp_path / "study")
    run(*command, "--repeats", "3", "--out", tmp_path / "whole")
    assert columns(tmp_path / "study").equals(columns(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "scores"], "no column 'scores'. It has 'text', 'score', 'mood', 'split'. Did you mean"),
        (["--arrangements", "lstm/last"], "names such as 'lstm/last/stacked', or 'twelve'"),
        (["--arrangements", "lstm/lst/one"], "Did you mean 'last'?"),
        (["--cells", "lstm,gruu"], "Did you mean 'gru'?"),
        (["--metric", "acuracy", "--target", "mood"], "Did you mean 'accuracy'?"),
        (["--budget", "soon"], "must be a time such as 15m, 90s or 2h. Got 'soon'."),
        (["--hidden-size", "0"], "an int in [1, inf). Got 0."),
        (["--jobs", "0"], "an int in [1, inf). Got 0."),
        (["--split-column", "text"], "must hold train, dev"),
    ],
)
def test_errors_are_one_line(table, tmp_path, arguments, message):
    target = [] if "--target" in arguments else ["--target", "score"]
    command = ["compare", table, "--input", "text", *target, "--out", tmp_path / "study", *arguments]
    result = run(*command, code=2)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert not (tmp_path / "study").exists()


def test_a_device_that_is_not_there_leaves_no_study(table, tmp_path):
    given = ["--input", "text", "--target", "score", "--device", "mps", "--out", tmp_path / "study"]
    result = run("compare", table, *given, code=2)
    assert "one that torch can use here" in result.stderr and not (tmp_path / "study").exists()


def test_an_empty_table_and_a_folder_of_something_else(table, tmp_path):
    (tmp_path / "t.csv").write_text("")
    command = ["--input", "text", "--target", "score", "--out", tmp_path]
    assert "is empty" in run("compare", tmp_path / "t.csv", *command, code=2).stderr
    assert "exists and is not a study" in run("compare", table, *command, code=2).stderr


def test_durations():
    given = ("90", "90s", "15m", "15 min", "1.5h")
    assert [parse_duration(text) for text in given] == [90.0, 90.0, 900.0, 900.0, 5400.0]
    with pytest.raises(DataError):
        parse_duration("0")


def test_options_are_those_of_fit_and_of_the_study():
    options = inspect.signature(compare_command).parameters
    fitting = inspect.signature(fit_command, eval_str=True).parameters
    own = {
        "cell",
        "pooling",
        "num_layers",
        "bidirectional",
        "blend",
        *("report", "weight"),
        *("checkpoint", "checkpoint_every", "resume"),
        *("stream", "epoch_batches", "cache"),
    }  # the study's affair, and its folder's
    assert set(fitting) - set(options) == own
    shared = [n for n in fitting if n in options and n not in ("ctx", "out", "quiet")]
    assert len(shared) > 15 and all(options[n].default == fitting[n].default for n in shared)
    for name, parameter in inspect.signature(study.compare).parameters.items():
        if name in options and name not in ("out", "test"):
            value = options[name].default
            grid = {"poolings": TargetProblem.grid.choices, "layouts": TargetProblem.grid.layouts}
            expected = grid.get(name, parameter.default)
            assert (tuple(value.split(",")) if name in ("cells", *grid) else value) == expected


def test_every_option_reaches_the_study(table, tmp_path, monkeypatch):
    seen = {}

    def record(X, y, **options):
        seen.update(options, rows=len(X))
        raise DataError("seen")

    monkeypatch.setattr("unspool.study.comparing.compare", record)
    wanted = {
        "metric": "mae",
        "repeats": 4,
        "cv": 3,
        "budget_runs": 9,
        "jobs": 2,
    }
    options = [part for name, value in wanted.items() for part in (f"--{name.replace('_', '-')}", value)]
    options += [
        "--cells",
        "gru, lstm",
        "--poolings",
        "max",
        "--layouts",
        "one",
        "--budget",
        "2m",
        "--seed",
        "8",
    ]
    options += ["--equal-parameters", "--no-drop-hopeless", "--dense", "5", "--quiet", "--hidden-size", "9"]
    command = ["compare", table, "--input", "text", "--target", "score", "--out", tmp_path / "s"]
    run(*command, "--split-column", "split", *options, code=2)
    assert {name: seen[name] for name in wanted} == wanted
    assert seen["cells"] == ["gru", "lstm"] and seen["poolings"] == ["max"] and seen["layouts"] == ["one"]
    assert seen["budget_seconds"] == 120 and seen["random_state"] == 8 and seen["verbose"] == 0
    assert seen["equal_parameters"] is True and seen["drop_hopeless"] is False
    assert seen["estimator"].dense == (5,) and seen["estimator"].hidden_size == 9
    parts = reviews(60)["split"]
    # with folds the validation rows of the table join the training rows
    assert seen["validation"] is None and seen["rows"] == (parts != "test").sum()
    run(*command, "--split-column", "split", code=2)
    assert len(seen["validation"][0]) == (parts == "dev").sum() and seen["rows"] == (parts == "train").sum()
    assert len(seen["test"][0]) == (parts == "test").sum() and seen["arrangements"] is None
