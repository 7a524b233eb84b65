"""What is no cell, layer, model, sequence, name or path of a picture is one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from unspool import Forecaster, SequenceRegressor, SequenceTagger, cells, study
from unspool.errors import UnspoolError
from unspool.nn import GRU, LSTM, Recurrent

SMALL: dict[str, Any] = {"hidden_size": 2, "epochs": 1, "verbose": 0, "early_stopping": False}
TEXTS = ["good day", "bad", "a fine day", "awful"]


@pytest.fixture(scope="module")
def model() -> SequenceRegressor:
    return SequenceRegressor(**SMALL, random_state=0).fit(TEXTS, [1.0, 0.0, 1.0, 0.0])


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a class": (
        lambda m: study.equations(cells.GRUCell),
        r"Got the class GRUCell\. Make one: unspool\.cells\.GRU",
    ),
    "a name": (lambda m: study.equations("gru"), "Got a str. Make one"),
    "a model": (
        study.equations,
        r"Got a SequenceRegressor\. .* is model\.network_\.stack\.layers\[0\]\.cell",
    ),
    "torch's cell": (
        lambda m: study.equations(nn.GRUCell(3, 4)),
        r"unspool\.nn\.GRUCell takes its arguments",
    ),
    "another width": (
        lambda m: study.equations(cells.GRUCell(3, 4), 7),
        "must be 3, that of the GRUCell. Got 7",
    ),
    "torch's layer": (
        lambda m: study.activations(nn.LSTM(3, 4), torch.ones(2, 3)),
        r"Got a LSTM\. unspool\.nn\.LSTM takes its arguments",
    ),
    "several texts": (
        lambda m: study.activations(m, TEXTS),
        r"Give one sequence, such as X\[0\]. Got a list of 4",
    ),
    "nothing to draw": (lambda m: study.plot_activations("a.png", {}), "holds nothing to draw"),
    "a history of none": (lambda m: study.plot_learning_curves("a.png", "history"), "history_. Got a str"),
    "no path": (lambda m: study.plot_learning_curves(m, m), "'path' parameter .* Got 'a SequenceRegressor'"),
    "an ending": (lambda m: study.plot_learning_curves("a.xyz", m), r"ends in \.png, .*Got 'a\.xyz'"),
    "a cell's own width": (
        lambda m: study.gradient_flow([cells.GRUCell(3, 4)], length=5),
        "'input_size' parameter of gradient_flow must be 3, that of the GRUCell. Got 16",
    ),
    "a nameless cell": (
        lambda m: study.gradient_flow([lambda i, h: cells.GRUCell(i, h)]),
        "names of your choice",
    ),
    "another name": (
        lambda m: study.gradient_flow("gru", length=4).rate("lstm"),
        r"one of \['gru'\]. Got 'lstm'",
    ),
    "a number": (
        lambda m: study.compare(TEXTS, [1] * 4, arrangements=3),
        "a list of names, or 'twelve'. Got 3",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_is_one_clear_error(name: str, model: SequenceRegressor) -> None:
    call, said = WRONG[name]
    with pytest.raises(UnspoolError, match=said):
        call(model)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_models_without_such_layers() -> None:
    with pytest.raises(NotFittedError):
        study.activations(SequenceRegressor(), "good")
    with pytest.raises(NotFittedError):
        study.plot_learning_curves("a.png", SequenceRegressor())
    walk = np.sin(np.arange(40.0))
    tagger = SequenceTagger(**SMALL).fit([["a", "b"], ["b"]], [["X", "Y"], ["Y"]])
    for model in (tagger, Forecaster(hidden_size=2, epochs=1, verbose=0, horizon=2).fit([walk])):
        with pytest.raises(
            UnspoolError, match=f"takes a fitted SequenceRegressor .* Got a {type(model).__name__}"
        ):
            study.activations(model, ["a", "b"])
    stack = tagger.network_.stack
    assert study.activations(stack, torch.ones(3, stack.layers[0].cell.input_size))["h"].shape[0] == 3


def test_layers_have_the_equations_of_their_cells() -> None:
    for layer, cell in (
        (LSTM(3, 4), cells.LSTMCell(3, 4)),
        (GRU(3, 4), cells.GRUCell(3, 4)),
        (Recurrent(cells.MGUCell(3, 4), bidirectional=True), cells.MGUCell(3, 4)),
    ):
        assert study.equations(layer).splitlines()[0] == study.equations(cell).splitlines()[0]


def test_pictures_make_their_folder_and_results_print_their_summary(tmp_path: Path, model: Any) -> None:
    study.plot_learning_curves(tmp_path / "new" / "curves", model)
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")
    found = study.compare(
        TEXTS * 4, [1.0, 0.0] * 8, estimator=SequenceRegressor(**SMALL), arrangements=["gru/max/one"], jobs=1
    )
    assert repr(found) == found.summary() and "good day" not in repr(found)
