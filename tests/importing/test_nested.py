"""Models within Keras' models, layers that change shapes, and operations between layers give Keras' numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unspool
from unspool.errors import DataError, ModelFileError
from unspool.importing import from_keras

from .reference import FILES, Reference, several, write_h5
from .test_several import assert_same

NESTED = several("nested.npz")


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("name", sorted(NESTED))
def test_predictions(name: str, tmp_path: Path) -> None:
    """Sequences of several lengths at once, one at a time, frozen, saved and loaded."""
    reference = NESTED[name]
    model = from_keras(write_h5(reference, tmp_path / "m.h5"))
    X: Any = reference.X
    if len(X) == 1:
        (X,) = X.values()
    assert_same(model.predict(X), reference)
    assert_same(model.predict(X, batch_size=1), reference)
    assert_same(model.freeze().predict(X), reference)
    model.save(tmp_path / "m")
    loaded = unspool.load(tmp_path / "m")
    assert loaded.summary() == model.summary()
    assert_same(loaded.predict(X), reference)


def test_a_file_that_keras_wrote() -> None:
    model = from_keras(FILES / "nested.keras")
    assert_same(model.predict(NESTED["nested"].X), NESTED["nested"])
    named = [node.name for node in model.network_.nodes]
    assert "words/gru" in named and "encoder/deep/lstm" in named


def changed(
    name: str, change: Callable[[dict[str, Any]], Any], folder: Path, was: str = "", now: str = ""
) -> Path:
    """The model with another configuration, by layer name, and a text of it replaced."""
    reference = NESTED[name]
    config = json.loads(json.dumps(reference.config))
    change({layer["config"]["name"]: layer for layer in config["config"]["layers"]})
    config = json.loads(json.dumps(config).replace(was, now)) if was else config
    return write_h5(Reference(config, reference.weights, reference.names), folder / "m.h5")


def once_more(layers: dict[str, Any]) -> None:
    """Eighteen models within each other, each of which calls the one inside twice."""
    inner = layers["encoder"]
    for depth in range(18):
        name = inner["config"]["name"]
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}
        given = {
            "class_name": "InputLayer",
            "config": {"batch_shape": [None, None, 3]},
            "name": "in",
            "inbound_nodes": [],
        }
        call = {"args": [tensor], "kwargs": {}}
        held = [given, {**inner, "inbound_nodes": [call, call]}]
        ends = [[name, 0, 0], [name, 1, 0]]
        config = {"name": f"m{depth}", "layers": held, "input_layers": [["in", 0, 0]], "output_layers": ends}
        inner = {"class_name": "Functional", "config": config}
    layers["encoder"].update(config={**inner["config"], "name": "encoder"})


def within(model: str, at: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda layers: layers[model]["config"]["layers"][at]["config"].update(values)


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("nested", within("encoder", 1, layers=[]), "must have 1 to 10,000 layers"),
        ("nested", within("words", 2, units=4), r"the layer 'words/gru' \(GRU\) must have weights of shapes"),
        ("nested", within("words", 2, peephole=1), r"'words/gru' \(GRU\) has a setting that is not known"),
        (
            "nested",
            lambda ls: ls["words"]["config"]["layers"].pop(),
            r"gru_cell/kernel' belongs to no layer of .*'words'",
        ),
        ("nested", once_more, r"are called more than 10,000 times|hold more than is read"),
        (
            "nested",
            lambda ls: ls["encoder"]["inbound_nodes"][0].update(args=[[], []]),
            r"'encoder' \(Functional\) is called with .*and has the inputs",
        ),
        (
            "nested",
            lambda ls: ls["encoder"]["inbound_nodes"].pop(),
            "reads output [01] of call 1 of 'encoder', which it does not have",
        ),
        (
            "several_inputs",
            lambda ls: ls["functional"]["inbound_nodes"][1]["kwargs"].update(mask={"t": 1}),
            r"called with mask=\{'t': 1\}, and has the inputs",
        ),
        (
            "reshaped",
            lambda ls: ls["reshape"]["config"].update(target_shape=[4, 2]),
            r"Layer 'reshape': Reshape to \(4, 2\) does not fit sequences of 6 numbers",
        ),
        (
            "reshaped",
            lambda ls: ls["reshape"]["config"].update(target_shape=[3, 2, 1]),
            r"'reshape' \(Reshape\) is supported with target_shape \(features,\) or \(steps, features\) only",
        ),
        ("fixed", lambda ls: ls["permute"]["config"].update(dims=[1, 2]), r"dims \(2, 1\) only"),
        ("windows", lambda ls: ls["up_sampling1d"]["config"].update(size=10**9), "size an int in"),
        (
            "windows",
            lambda ls: ls["cropping1d"]["config"].update(cropping=[1, 99_999]),
            "windows over time need 100,002",
        ),
        (
            "functions",
            lambda ls: ls["p_re_lu"]["config"].update(shared_axes=None),
            r"shared_axes \[1\], the steps",
        ),
        (
            "functions",
            lambda ls: ls["rnn"]["config"]["cell"].update(class_name="ConvLSTM1DCell"),
            r"'rnn' \(RNN\) goes around 'ConvLSTM1DCell'",
        ),
        (
            "functions",
            lambda ls: ls["category_encoding"]["config"].update(output_mode="count"),
            "'one_hot' only",
        ),
        (
            "operations",
            lambda ls: ls["mean"]["config"].update(axis=2),
            r"'mean' \(Mean\) is an operation between",
        ),
        (
            "operations",
            lambda ls: ls["mean"].update(class_name="Einsum"),
            r"'mean' \(Einsum\) is an operation",
        ),
    ],
)
def test_what_is_refused(name: str, change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="Cannot import") as caught:
        from_keras(changed(name, change, tmp_path))
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.usefixtures("read_within")
def test_what_it_is_given(tmp_path: Path) -> None:
    model = from_keras(write_h5(NESTED["reshaped"], tmp_path / "m.h5"))
    rows = np.zeros((0, 6), np.float32)
    empty = model.predict([rows, []])
    assert {key: len(value) for key, value in empty.items()} == {"concatenate": 0, "reshape_5": 0}
    model = from_keras(write_h5(NESTED["windows"], tmp_path / "m.h5"))
    with pytest.raises(
        DataError, match=r"Layer 'cropping1d': Cropping 1 steps needs sequences of 2 at least. Got 1"
    ):
        model.predict([np.zeros((1, 3))])
