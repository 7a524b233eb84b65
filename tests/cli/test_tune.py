"""`unspool tune`: what it leaves, its options, its errors, and going on after a kill and a Ctrl-C."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

import unspool
from unspool.cli.fit import fit as fit_command
from unspool.cli.tune import option_text
from unspool.cli.tune import tune as tune_command
from unspool.errors import DataError
from unspool.tuning.trials import perform

from .conftest import SMALL, reviews, run

TINY = [*SMALL[:-1], "--epochs", "3"]
SPACE = ["--search", "dropout=0:0.5", "--search", "cell=gru,lstm"]


def command(table, out, target="mood"):
    return ["tune", str(table), "--input", "text", "--target", target, *TINY, *SPACE, "--out", str(out)]


def test_what_is_printed_and_left(table, tmp_path):
    words = [*command(table, tmp_path / "model"), "--trials", "3", "--repeats", "2", "--jobs", "1"]
    result = run(*words)
    assert "default: Accuracy" in result.stdout and "0 trials of search left" in result.stdout
    assert "3 trials:" in result.stdout and "is kept." in result.stdout
    report = tmp_path / "model-report"
    facts = json.loads((report / "metrics.json").read_text())
    tuning = facts["tuning"]
    assert tuning["trials"] == 3 and set(tuning["search"]) == {"dropout", "cell"}
    assert facts["rows"]["train"] == 48 and "majority" in facts["baselines"]
    trials = pl.read_csv(report / "trials.csv")
    assert trials["state"][0] == "default" and trials.height == 4 and set(trials["cell"]) <= {"gru", "lstm"}
    for name in ("study.journal", "search_history.png", "search_slices.png", "predicted_vs_true.png"):
        assert (report / name).stat().st_size > 1000, name
    model = unspool.load(tmp_path / "model")
    kept = tuning["settings"] if tuning["kept"] == "chosen" else {"cell": "lstm", "dropout": None}
    assert (model.cell, model.dropout) == (kept["cell"], kept["dropout"]) and model.hidden_size == 8
    (report / "search_history.png").unlink()
    again = run(*words).stdout
    assert "default: " not in again and "trial 1: " not in again and "was looked at" not in again
    assert (report / "search_history.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "scores"], "no column 'scores'. It has 'text', 'score', 'mood', 'split'. Did you mean"),
        (["--budget", "soon"], "must be a time such as 15m, 90s or 2h. Got 'soon'."),
        ([], "Give --budget, a time such as 30m, or --trials, a number, or both."),
        (["--trials", "0"], "an int in [1, inf). Got 0."),
        (["--jobs", "0", "--trials", "1"], "an int in [1, inf). Got 0."),
        (["--trials", "1", "--metric", "acuracy"], "must be one of"),
        (["--trials", "1", "--search", "hiden-size"], "Did you mean 'hidden_size'?"),
        (["--trials", "1", "--search", "nothing"], "error: --search must be one of"),
        (["--trials", "1", "--search", "dropout=a:b"], "a range is two numbers, such as 32:256. Got 'a:b'."),
        (["--trials", "1", "--search", "cell=gru,lsm"], "Did you mean 'lstm'?"),
        (["--trials", "1", "--search", "dropout", "--search", "dropout=0:0.1"], "has 'dropout' twice"),
        (["--trials", "1", "--device", "mps"], "one that torch can use here"),
        (["--trials", "1", "--task", "tagging"], "does not work with the task 'tagging'"),
        (["--trials", "1", "--hidden-size", "0"], "an int in [1, inf). Got 0."),
        (["nothing.csv", "--trials", "1", "--repeats", "1"], "--repeats must be an int in [2, inf). Got 1."),
        (["nothing.csv", "--trials", "1", "--budget", "0s"], "--budget must be a time"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(table, tmp_path, arguments, message):
    target = [] if "--target" in arguments else ["--target", "score"]
    more = ["--trials", "1"] if "--target" in arguments else []
    named = (
        [] if arguments[:1] == ["nothing.csv"] else [table]
    )  # what is out of range is told before it is read
    words = ["tune", *named, "--input", "text", *target, "--out", tmp_path / "model", *arguments, *more]
    result = run(*words, code=2)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert not (tmp_path / "model").exists() and not (tmp_path / "model-report").exists()


def test_without_optuna(table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = run(*command(table, tmp_path / "model"), "--trials", "1", code=2)
    assert (
        result.stderr
        == "error: unspool tune needs optuna: pip install 'unspool[tune]', or pip install optuna.\n"
    )


def test_another_search_in_the_same_place(table, tmp_path):
    report = tmp_path / "model-report"
    report.mkdir()
    (report / "study.journal").write_text("something else\n")
    result = run(*command(table, tmp_path / "model"), "--trials", "1", "--jobs", "1", code=2)
    assert "is not the study of a search, or is damaged" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_search_goes_on(tmp_path):
    """Trials in two processes, which end with the command; what they gave is what one process gives."""
    reviews(60).write_csv(tmp_path / "reviews.csv")
    words = [*command(tmp_path / "reviews.csv", tmp_path / "model"), "--trials", "2", "--repeats", "2"]
    start = [sys.executable, "-u", "-m", "unspool", *words, "--jobs", "2"]
    with subprocess.Popen(
        start, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        default = next(line for line in process.stdout if line.startswith("default"))
        workers = children(process.pid)
        process.kill()
    assert len(workers) >= 2 and process.returncode == -9
    until = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, workers)) and not (tmp_path / "model").exists()
    study = tmp_path / "model-report" / "study.journal"
    kept = study.read_bytes()
    study.write_bytes(kept + b'{"op_code":')  # a write that the kill cut
    done = run(*words, "--jobs", "1").stdout
    assert not re.search(r"(?m)^default: ", done) and "trial " in done and (tmp_path / "model").is_dir()
    assert study.read_bytes().startswith(kept)
    run(*words, "--jobs", "1", "--report", tmp_path / "other", "--out", tmp_path / "other-model")
    again = pl.read_csv(tmp_path / "other" / "trials.csv")["validation_accuracy"][0]
    assert f"Accuracy {again:.4g}," in default


def test_ctrl_c_keeps_what_was_finished(table, tmp_path, monkeypatch):
    real, ends = perform, iter([None, None, KeyboardInterrupt()])

    def ended(problem, trial):
        if (error := next(ends)) is not None:
            raise error
        return real(problem, trial)

    monkeypatch.setattr("unspool.tuning.workers.perform", ended)
    words = [*command(table, tmp_path / "model"), "--trials", "3", "--jobs", "1"]
    result = run(*words, code=130)
    report = tmp_path / "model-report"
    assert (
        result.stderr
        == f"interrupted: 1 trial, and the default, kept in {report}; the same command goes on.\n"
    )
    assert not (tmp_path / "model").exists() and (report / "study.journal").is_file()


def alive(pid):
    """Whether a process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """The processes that it started, by Linux' own list."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(child) for child in file.read().split()]
    return found


def test_series(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6, 2)) + (np.arange(40) % 2)[:, None, None]
    np.savez(tmp_path / "series.npz", X=X, y=np.where(np.arange(40) % 2, "b", "a"))
    words = [
        "tune",
        tmp_path / "series.npz",
        "--layout",
        "time-features",
        "--hidden-size",
        "4",
        "--epochs",
        "2",
    ]
    output = run(*words, "--trials", "1", "--repeats", "2", "--jobs", "1", "--out", tmp_path / "model").stdout
    assert "Task: classification." in output and "crop" in output and "is kept." in output
    assert unspool.load(tmp_path / "model").input_.kind == "series"
    facts = json.loads((tmp_path / "model-report" / "metrics.json").read_text())
    assert facts["input_kind"] == "series" and "crop" in facts["tuning"]["search"]
    assert "hidden_size" not in facts["tuning"]["search"]


def test_options_are_those_of_fit_and_reach_the_search(table, tmp_path, monkeypatch):
    fitting, own = (inspect.signature(c, eval_str=True).parameters for c in (fit_command, tune_command))
    left_out = {"checkpoint", "checkpoint_every", "resume", "stream", "epoch_batches", "cache", "weight"}
    assert set(fitting) - set(own) == left_out
    seen = {}

    def record(X, y, **options):
        seen.update(options, rows=len(X))
        raise DataError("seen")

    monkeypatch.setattr(unspool, "tune", record)
    words = [
        "tune",
        table,
        "--input",
        "text",
        "--target",
        "score",
        "--split-column",
        "split",
        "--out",
        tmp_path / "m",
    ]
    words += [
        "--budget",
        "2m",
        "--trials",
        "7",
        "--repeats",
        "3",
        "--jobs",
        "2",
        "--metric",
        "mae",
        "--seed",
        "8",
    ]
    run(*words, "--hidden-size", "64", "--num-layers", "2", code=2)
    wanted = {"budget_seconds": 120, "trials": 7, "repeats": 3, "jobs": 2, "metric": "mae", "random_state": 8}
    assert {name: seen[name] for name in wanted} == wanted and seen["space"] is None
    assert {"hidden_size", "num_layers"} <= set(seen["keep"]) and "dropout" not in seen["keep"]
    parts = reviews(60)["split"]
    assert (
        len(seen["validation"][0]) == (parts == "dev").sum()
        and len(seen["test"][0]) == (parts == "test").sum()
    )
    run(*words, "--search", "hidden-size=8:16", "--search", "blend=true,none", "--search", "dropout", code=2)
    assert seen["space"] == {"hidden_size": (8.0, 16.0), "blend": [True, None], "dropout": None}


def test_settings_as_options():
    settings = {
        "cell": "gru",
        "dropout": 0.25,
        "bidirectional": False,
        "vectors": ["a.txt", "b:50"],
        "characters": None,
    }
    text = option_text(settings)
    assert text == "--cell gru --no-bidirectional --dropout 0.25 --vectors a.txt --vectors b:50"
