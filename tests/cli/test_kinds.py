"""A task's own commands, found by `--task` or by the class of a saved model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unspool import saved
from unspool.cli import kinds

from .conftest import run


def own_fit(table: Path, task: str = "knots", twists: int = 3) -> None:
    print(f"fit of {table} as {task} with {twists}")


def own_predict(model: Path, rows: Path) -> None:
    print(f"predict {rows} by {model}")


@pytest.fixture(autouse=True)
def knots(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {("fit", "knots"): f"{__name__}:own_fit", ("predict", "knots"): f"{__name__}:own_predict"}
    monkeypatch.setattr(kinds, "COMMANDS", here)
    monkeypatch.setattr(kinds, "CLASSES", {"KnotTier": "knots"})


@pytest.mark.parametrize("task", [["--task", "knots"], ["--task=knots"]])
def test_fit(task: list[str]) -> None:
    done = run("fit", "rope.csv", *task, "--twists", "5")
    assert done.output == "fit of rope.csv as knots with 5\n"
    assert "--twists" in run("fit", *task, "--help").output


def test_by_the_saved_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    saved.save(model, {"class": "KnotTier"}, {"rope": torch.zeros(1)})
    assert run("predict", model, "rope.csv").output == f"predict rope.csv by {model}\n"
    done = run("evaluate", model, "rope.csv", code=2)
    assert "unspool evaluate does not work with the task 'knots'. It has: fit, predict." in done.output


def test_a_class_that_nobody_knows(tmp_path: Path) -> None:
    saved.save(tmp_path / "model", {"class": "Unknown"}, {"rope": torch.zeros(1)})
    assert "'Unknown'" in run("predict", tmp_path / "model", "text", code=2).output
