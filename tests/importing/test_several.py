"""Keras' models of several inputs and outputs give Keras' numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unspool
from unspool.errors import DataError, ModelFileError
from unspool.importing import ImportedModel, from_keras

from .reference import FILES, Reference, several, write_h5, write_keras

NAMES = sorted(several())
TOLERANCE = 1e-6


def assert_same(got: Any, reference: Reference) -> None:
    expected: Any = reference.alone
    if len(expected) == 1:
        got = {next(iter(expected)): got}
    assert list(got) == list(expected)
    for name, rows in expected.items():
        assert len(got[name]) == len(rows)
        for one, other in zip(got[name], rows):
            assert one.shape == other.shape and np.abs(one - other).max() <= TOLERANCE


def imported(name: str, folder: Path, **settings: Any) -> tuple[ImportedModel, Reference]:
    reference = several()[name]
    return from_keras(write_h5(reference, folder / f"{name}.h5"), **settings), reference


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("name", NAMES)
def test_predictions(name: str, tmp_path: Path) -> None:
    """From both layouts, by names or in order, saved and loaded, frozen, and a row at a time."""
    model, reference = imported(name, tmp_path)
    X: Any = reference.X
    assert_same(model.predict(X), reference)
    values = [X[given.name] for given in model.inputs]
    assert_same(model.predict(values if len(values) > 1 else values[0]), reference)
    assert_same(model.predict(X, batch_size=1), reference)
    assert_same(model.freeze().predict(X), reference)
    assert_same(from_keras(write_keras(reference, tmp_path / "m.keras")).predict(X), reference)
    model.save(tmp_path / "m")
    loaded = unspool.load(tmp_path / "m")
    assert loaded.summary() == model.summary() and loaded.inputs == model.inputs
    assert_same(loaded.predict(X), reference)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_files_that_keras_wrote(ending: str) -> None:
    model = from_keras(FILES / f"pair.{ending}")
    assert_same(model.predict(several()["pair"].X), several()["pair"])
    shared = [node for node in model.network_.nodes if node.same_as is not None]
    assert [node.kind for node in shared] == ["embedding", "recurrent"]  # one set of weights


@pytest.mark.usefixtures("read_within")
def test_a_layer_that_reads_two_embeddings(tmp_path: Path) -> None:
    """Frozen, a shared layer must not answer for the other embedding's rows."""
    reference = several()["pair"]
    config = json.loads(json.dumps(reference.config))
    layers = config["config"]["layers"]
    first = next(layer for layer in layers if layer["class_name"] == "Embedding")
    other = {**json.loads(json.dumps(first)), "name": "other", "inbound_nodes": first["inbound_nodes"][1:]}
    other["config"]["name"] = "other"
    first["inbound_nodes"] = first["inbound_nodes"][:1]
    layers.insert(layers.index(first) + 1, other)
    text = json.dumps(config).replace('["embedding", 1, 0]', '["other", 0, 0]')
    weights = {**reference.weights, "other": [array * 2 for array in reference.weights[first["name"]]]}
    model = from_keras(write_h5(Reference(json.loads(text), weights), tmp_path / "m.h5"))
    got, frozen = model.predict(reference.X), model.freeze().predict(reference.X)
    assert np.abs(got - frozen).max() <= TOLERANCE
    assert np.abs(got - np.stack(reference.alone["label"])).max() > 1e-3  # type: ignore[call-overload]


@pytest.mark.usefixtures("read_within")
def test_what_is_given(tmp_path: Path) -> None:
    model, reference = imported("pair", tmp_path)
    X: Any = reference.X
    title, body, numbers = X["title"], X["body"], X["numbers"]
    for given, message in (
        ({"title": title, "body": body}, "reads 'title', 'body', 'numbers'. Got 'title', 'body'"),
        ({**X, "more": 1}, "Got 'title', 'body', 'numbers', 'more'"),
        (
            title,
            "has 3 inputs: give a dict of 'title', 'body', 'numbers', or a list in this order. Got a list of 4",
        ),
        (np.ones((3, 2)), "or a list in this order. Got ndarray"),
        ([title, body[:3], numbers], r"as many sequences. Got \{'title': 4, 'body': 3, 'numbers': 4\}"),
        ([title, body, title], r"Input 'numbers': This network reads rows of 3 numbers: \(B, 3\)"),
        ([title, body, np.ones((4, 2))], r"Input 'numbers': .* Got \(4, 2\)"),
        ([title, numbers, numbers], "Input 'body': This network reads ids: whole numbers"),
        ([title, ["a", "b", "c", "d"], numbers], "Input 'body': .* Got texts. Import it with its tokenizer"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(given)
    empty = model.predict({"title": [], "body": [], "numbers": []})
    assert empty.shape == (0, 2)
    with pytest.raises(
        ModelFileError, match=r"maxlen is for an input 'age', which it does not have\. It has 'title'"
    ):
        imported("pair", tmp_path, maxlen={"age": 3})
    model, _ = imported("pair", tmp_path, maxlen={"title": 3}, padding="post")
    assert [given.padding.maxlen for given in model.inputs] == [3, None, None]
    assert "Sequences of 'title' are brought to 3 steps: filled with 0 (post)" in model.summary()
    model, reference = imported("category", tmp_path)
    X = {"text": reference.X["text"], "kind": [int(x[0]) for x in reference.X["kind"]]}  # type: ignore[call-overload]
    assert_same(model.predict(X), reference)


@pytest.mark.usefixtures("read_within")
def test_steps_of_two_inputs_are_merged_where_they_are_as_many(tmp_path: Path) -> None:
    reference = several()["asked"]
    config = json.loads(json.dumps(reference.config))
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Attention")
    layer.update(class_name="Add", config={"name": layer["name"]})
    model = from_keras(write_h5(Reference(config, reference.weights), tmp_path / "m.h5"))
    assert model.predict([[[1, 2]], [[3, 4]]]).shape == (1, 1)
    with pytest.raises(
        DataError, match=r"merged by 'sum' must have one shape. Got steps \(3, 3\), steps \(3, 3\)"
    ):
        model.predict([[[1, 2], [3]], [[3], [4, 5]]])  # as many together, but not each
    with pytest.raises(DataError, match="skip different steps cannot be merged"):
        model.predict([[[1, 0]], [[0, 4]]])
