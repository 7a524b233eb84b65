"""`RNN` around several cells is the same as their layers one after the other."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.importing.reference import Reference, write_h5

import unspool
from unspool.errors import ModelFileError
from unspool.importing import ImportedModel, from_keras

pytestmark = pytest.mark.usefixtures("read_within")
UNITS = {"LSTM": 3, "GRU": 2, "SimpleRNN": 4}
RNG = np.random.default_rng(0)
X = [RNG.normal(size=(length, 5)).astype(np.float32) for length in (4, 1, 6)]


def settings(kind: str, units: int) -> dict[str, Any]:
    own = {"units": units, "activation": "tanh", "use_bias": True}
    own |= {} if kind == "SimpleRNN" else {"recurrent_activation": "sigmoid"}
    return own | ({"reset_after": True} if kind == "GRU" else {})


def arrays(kind: str, features: int, units: int) -> list[np.ndarray]:
    rows = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[kind] * units
    shapes = [(features, rows), (units, rows), (2, rows) if kind == "GRU" else (rows,)]
    return [RNG.normal(scale=0.5, size=shape).astype(np.float32) for shape in shapes]


def stack(kinds: list[str], **own: Any) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """(the entry of an RNN around these cells, the weights of each)."""
    cells = [
        {"class_name": f"{kind}Cell", "config": {"name": f"cell_{number}", **settings(kind, UNITS[kind])}}
        for number, kind in enumerate(kinds)
    ]
    widths = [5, *(UNITS[kind] for kind in kinds)]
    cell = {"class_name": "StackedRNNCells", "config": {"name": "cells", "cells": cells}}
    entry = {"class_name": "RNN", "config": {"name": "rnn", "cell": cell, "return_sequences": True, **own}}
    return entry, [arrays(kind, width, UNITS[kind]) for kind, width in zip(kinds, widths)]


def model(folder: Path, *layers: dict[str, Any], **weights: list[np.ndarray]) -> ImportedModel:
    start = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, 5], "name": "x"}}
    config = {"class_name": "Sequential", "config": {"layers": [start, *layers]}, "keras_version": "2.15.0"}
    return from_keras(write_h5(Reference(config, weights), folder / "m.h5"))


def one_by_one(folder: Path, kinds: list[str], weights: list[list[np.ndarray]], **own: Any) -> Any:
    layers = [
        {
            "class_name": kind,
            "config": {"name": f"l{number}", "return_sequences": True, **settings(kind, UNITS[kind]), **own},
        }
        for number, kind in enumerate(kinds)
    ]
    return model(folder, *layers, **{f"l{number}": own for number, own in enumerate(weights)}).predict(X)


def same(got: Any, expected: Any) -> None:
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_they_are_their_layers_one_after_the_other(tmp_path: Path) -> None:
    kinds = ["LSTM", "GRU", "SimpleRNN"]
    entry, weights = stack(kinds)
    found = model(tmp_path, entry, rnn=[array for own in weights for array in own])
    expected = one_by_one(tmp_path, kinds, weights)
    same(found.predict(X), expected)
    found.save(tmp_path / "model")
    same(unspool.load(tmp_path / "model").predict(X), expected)
    document = json.dumps(found.network_.nodes[0].settings)
    assert '"cell": "stack"' in document


def test_two_directions_in_a_zip(tmp_path: Path) -> None:
    """Two cells of one class have numbers there; each direction has its own."""
    kinds = ["GRU", "GRU"]
    entry, forward = stack(kinds)
    backward = stack(kinds)[1]
    both = {"class_name": "Bidirectional", "config": {"name": "both", "layer": entry, "merge_mode": "concat"}}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for way, cells in (("forward_layer", forward), ("backward_layer", backward)):
            for place, own in zip(("gru_cell", "gru_cell_1"), cells):
                for number, array in enumerate(own):
                    file[f"layers/bidirectional/{way}/cell/cells/{place}/vars/{number}"] = array
    start = {"class_name": "InputLayer", "config": {"batch_shape": [None, None, 5], "name": "x"}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.10.0"}))
        config = {"class_name": "Sequential", "config": {"layers": [start, both]}}
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", stream.getvalue())
    there = one_by_one(tmp_path, kinds, forward)
    back = model(tmp_path, stack(kinds)[0], rnn=[array for own in backward for array in own])
    turned = [ends[::-1] for ends in back.predict([x[::-1].copy() for x in X])]
    expected = [np.concatenate(pair, axis=-1) for pair in zip(there, turned)]
    same(from_keras(tmp_path / "m.keras").predict(X), expected)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"stateful": True}, "stateful off only"),
        ({"time_major": True}, "time_major off only"),
        ({"cell": {"class_name": "StackedRNNCells", "config": {"cells": []}}}, "has 0 cells, and 3 weights"),
        (
            {
                "cell": {
                    "class_name": "StackedRNNCells",
                    "config": {"cells": [{"class_name": "A", "config": {}}]},
                }
            },
            "has a cell 'A', which is not supported",
        ),
    ],
)
def test_what_is_refused(own: dict[str, Any], message: str, tmp_path: Path) -> None:
    entry, weights = stack(["LSTM"], **own)
    with pytest.raises(ModelFileError, match=message):
        model(tmp_path, entry, rnn=weights[0])
