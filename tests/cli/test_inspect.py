"""`unspool inspect`: equations and drawings of a saved model."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import torch
from matplotlib.image import imread

import unspool
from unspool.study import equations

from .conftest import run
from .test_errors import one_error


def test_the_equations_are_printed(trained) -> None:
    model = unspool.load(trained / "model")
    output = run("inspect", trained / "model").stdout
    assert "One step of the cell:\n" + equations(model.network_.stack.layers[0].cell) in output
    assert " gradient norm " in output and " epoch " in output


def test_drawings(trained, tmp_path) -> None:
    command = ["inspect", trained / "model", "--text", "the day was awful", "--out", tmp_path / "drawings"]
    output = run(*command, "--gradients", "--diagram", "--curves").stdout
    names = {path.name for path in (tmp_path / "drawings").iterdir()}
    pictures = {"activations-1.png", "activations-1-backward.png", "gradients.png", "curves.png"}
    assert names == pictures | {"cell.svg"} and all(name in output for name in names)
    assert all(imread(tmp_path / "drawings" / name)[..., :3].std() > 0.05 for name in pictures)
    assert ElementTree.parse(tmp_path / "drawings" / "cell.svg").getroot().tag.endswith("svg")
    assert "over the 4 tokens given" in output


def test_default_folder_and_random_words(trained) -> None:
    output = run("inspect", trained / "model", "--gradients").stdout
    assert (trained / "model-inspect" / "gradients.png").is_file() and "over 100 random steps" in output


def test_what_inspect_cannot_do(trained, tmp_path) -> None:
    assert "--out is the folder for drawings" in one_error(
        run("inspect", trained / "model", "--out", "x", code=2)
    )
    series = unspool.SequenceRegressor(hidden_size=3, epochs=1, early_stopping=False, verbose=0)
    series.fit([np.eye(2), np.ones((3, 2))], [1.0, 2.0]).save(tmp_path / "series")
    said = one_error(run("inspect", tmp_path / "series", "--text", "a", code=2))
    assert "--text needs a model of texts. This one reads series of 2 features a step." in said
    run("inspect", tmp_path / "series", "--gradients", "--diagram")
    said = one_error(run("inspect", trained / "model", "--text", "", "--out", tmp_path / "o", code=2))
    assert "--text holds no token: ''" in said and not (tmp_path / "o").exists()


def test_a_cell_without_a_program_is_still_inspected(tmp_path, monkeypatch) -> None:
    class Sorting(unspool.cells.Cell):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.weight = torch.nn.Parameter(torch.zeros(hidden_size, input_size))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.cummax(h + x @ self.weight.T, dim=1).values

    monkeypatch.setitem(unspool.cells.registry, "sorting", Sorting)
    model = unspool.SequenceRegressor("sorting", hidden_size=3, epochs=1, early_stopping=False, verbose=0)
    model.fit(["a b", "b"], [1.0, 2.0]).save(tmp_path / "model")
    output = run("inspect", tmp_path / "model").stdout
    assert (
        "Sorting has no program to show: it uses the operation 'aten.cummax'" in output
        and "setting" in output
    )
    assert "aten.cummax" in one_error(run("inspect", tmp_path / "model", "--diagram", code=2))
