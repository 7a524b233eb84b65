"""Errors and warnings name options, where Python has parameters."""

from __future__ import annotations

import warnings

import pytest
import typer
from tests.cli.conftest import run

from unspool.cli.wording import worded
from unspool.errors import DataError, InvalidParameterError, check_int


@pytest.fixture
def command():
    app = typer.Typer()

    @app.command()
    def fit(
        seed: int = 0, crf: bool = True, horizon: int = 1, bidirectional: bool = True, quick: bool = False
    ):
        pass

    return typer.main.get_command(app)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("Use crf=False.", "Use --no-crf."),
        ("fit with bidirectional=True, or seed=3", "fit with --bidirectional, or --seed 3"),
        ("Leave seed=None.", "Leave no --seed."),
        ("Fit with h=12 or h='last'.", "Fit with --horizon 12 or --horizon last."),
        ("say --no-crf (crf=False)", "say --no-crf (crf=False)"),
        (
            "cell=Twice, x.crf=True, 'crf=True', engine='eager'",
            "cell=Twice, x.crf=True, 'crf=True', engine='eager'",
        ),
    ],
)
def test_words(command, told, words):
    assert worded(DataError(told), command) == words
    assert worded(told, None) == told


def test_parameters(command):
    for name, option in (
        ("random_state", "--seed"),
        ("h", "--horizon"),
        ("depth", "The 'depth' parameter of x"),
    ):
        with pytest.raises(InvalidParameterError, match=f"^The '{name}' parameter of x must be") as caught:
            check_int("x", name, 0)
        assert worded(caught.value, command) == f"{option} must be an int in [1, inf). Got 0."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit", "t.csv", "--input", "a", "--target", "b", "--out", "m", "--batch-size", "0"],
            "--batch-size must be",
        ),
        (
            ["compare", "t.csv", "--input", "a", "--target", "b", "--out", "m", "--repeats", "0"],
            "--repeats must be",
        ),
        (["compare", "t.ts", "--out", "m", "--jobs", "0"], "--jobs must be"),
        (
            ["compare", "t.csv", "--task", "forecasting", "--out", "m", "--budget-runs", "0"],
            "--budget-runs must be",
        ),
        (["fit", "t.csv", "--task", "forecasting", "--out", "m", "--horizon", "0"], "--horizon must be"),
        (["fit", "t.conll", "--task", "tagging", "--out", "m", "--scheme", "X"], "--scheme must be"),
    ],
)
def test_commands_before_anything_is_read(arguments, message):
    assert run(*arguments, code=2).stderr.startswith(f"error: {message}")


def test_a_folder_is_no_table(tmp_path):
    told = run("fit", tmp_path, "--input", "a", "--target", "b", "--out", tmp_path / "m", code=2).stderr
    assert "is a folder: with --input give the path of one table." in told


def test_warnings(monkeypatch):
    monkeypatch.setattr("unspool.cli.app.app.registered_commands", [])
    from unspool.cli.app import Commands

    app = typer.Typer(cls=Commands)

    @app.callback()
    def group():
        pass

    @app.command()
    def bench(crf: bool = True):
        for _ in range(2):  # told once
            warnings.simplefilter("always")
            warnings.warn("Better with crf=False.", stacklevel=1)

    from typer.testing import CliRunner

    assert CliRunner().invoke(app, ["bench"]).stderr == "warning: Better with --no-crf.\n"
