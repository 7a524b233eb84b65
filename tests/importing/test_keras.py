"""Keras' models give Keras' numbers: on sequences of uneven length, and on padded ones."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unspool
from unspool.errors import DataError, ModelFileError
from unspool.importing import ImportedModel, from_keras

from .reference import FILES, MAXLEN, Reference, references, write_h5, write_keras

NAMES = sorted(references())
TOLERANCE = 1e-6


def assert_same(got: Any, expected: list[np.ndarray]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected):
        assert one.shape == other.shape and np.abs(one - other).max() <= TOLERANCE


def imported(name: str, folder: Path, **settings: Any) -> tuple[ImportedModel, Reference]:
    reference = references()[name]
    return from_keras(write_h5(reference, folder / f"{name}.h5"), **settings), reference


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("name", NAMES)
def test_sequences_as_they_are(name: str, tmp_path: Path) -> None:
    model, reference = imported(name, tmp_path)
    assert_same(model.predict(reference.X), reference.alone)
    assert_same(model.freeze().predict(reference.X), reference.alone)
    assert_same(model.predict(reference.X, batch_size=1), reference.alone)


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("name", NAMES)
def test_padded_sequences(name: str, side: str, tmp_path: Path) -> None:
    """Pads that no layer masks are part of the sequence, on the side where they are."""
    model, reference = imported(name, tmp_path, maxlen=MAXLEN, padding=side)
    assert_same(model.predict(reference.X), list(getattr(reference, side)))


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("name", [name for name in NAMES if not references()[name].old])
def test_the_new_layout(name: str, tmp_path: Path) -> None:
    reference = references()[name]
    model = from_keras(write_keras(reference, tmp_path / "m.keras"))
    assert_same(model.predict(reference.X), reference.alone)


@pytest.mark.usefixtures("read_within")
def test_the_layout_of_keras_2_12(tmp_path: Path) -> None:
    reference = references()["tagger"]
    model = from_keras(write_keras(reference, tmp_path / "m.keras", "_layer_checkpoint_dependencies"))
    assert_same(model.predict(reference.X), reference.alone)


@pytest.mark.usefixtures("read_within")
def test_states_that_no_layer_reads(tmp_path: Path) -> None:
    """An encoder may return its states beside its output."""
    reference = references()["functional"]
    config = json.loads(json.dumps(reference.config))
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "GRU":
            layer["config"]["return_state"] = True
    model = from_keras(write_h5(Reference(config, reference.weights), tmp_path / "m.h5"))
    assert_same(model.predict(reference.X), reference.alone)


@pytest.mark.parametrize("file", ["tagger.keras", "masked_series.keras", "sum.h5"])
def test_files_that_keras_wrote(file: str) -> None:
    reference = references()[file.split(".")[0]]
    assert_same(from_keras(FILES / file).predict(reference.X), reference.alone)


def test_weights_alone(tmp_path: Path) -> None:
    """As `save_weights` and `to_json` write them."""
    with zipfile.ZipFile(FILES / "tagger.keras") as archive:
        (tmp_path / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
    reference = references()["tagger"]
    (tmp_path / "m.json").write_text(json.dumps(reference.config))
    with pytest.raises(ModelFileError, match=r"weights alone\. Give config"):
        from_keras(tmp_path / "m.weights.h5")
    for config in (tmp_path / "m.json", reference.config):
        model = from_keras(tmp_path / "m.weights.h5", config=config)
        assert_same(model.predict(reference.X), reference.alone)


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, reference = imported(name, tmp_path)
    model.save(tmp_path / "m")
    loaded = unspool.load(tmp_path / "m")
    assert loaded.summary() == model.summary() and loaded.inputs == model.inputs
    for one, other in zip(loaded.predict(reference.X), model.predict(reference.X)):
        assert np.array_equal(one, other)


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize("name", ["windows", "strided"])
def test_convolutions_of_theano(name: str, tmp_path: Path) -> None:
    """A true convolution: the kernel of every other backend back to front."""
    reference = references()[name]
    turned = {
        layer: [array[::-1] if array.ndim == 3 else array for array in arrays]
        for layer, arrays in reference.weights.items()
    }
    path = write_h5(Reference(reference.config, turned), tmp_path / "m.h5", "theano")
    assert_same(from_keras(path).predict(reference.X), reference.alone)


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(("version", "zeros"), [("2.3.1", False), ("2.3.0-tf", True), ("2.11.0", True)])
def test_skipped_steps_of_two_directions(version: str, zeros: bool, tmp_path: Path) -> None:
    """Zeros in tf.keras since TensorFlow 2.2 and in Keras 3; Keras 2 has the output of the step before, or after."""
    reference = references()["tagger"]
    config = json.loads(json.dumps({**reference.config, "keras_version": version}))
    for layer in config["config"]["layers"]:
        for name in ("layer", "backward_layer"):
            layer["config"].get(name, {}).get("config", {}).pop("zero_output_for_mask", None)
    model = from_keras(write_h5(Reference(config, reference.weights), tmp_path / "m.h5"))
    got = model.predict(reference.X)
    real = reference.X[2] != 0
    assert not real.all() and np.abs(got[2][real] - reference.alone[2][real]).max() < TOLERANCE
    assert (np.abs(got[2][~real] - reference.alone[2][~real]).max() < TOLERANCE) == zeros


@pytest.mark.usefixtures("read_within")
def test_the_slopes_of_hard_sigmoids_differ(tmp_path: Path) -> None:
    """The same numbers under the name of the other version are others."""
    reference = references()["keras_2"]
    changed = Reference({**reference.config, "keras_version": "3.0.0"}, reference.weights)
    new = from_keras(write_h5(changed, tmp_path / "new.h5")).predict(reference.X)
    assert np.abs(new - np.stack(reference.alone)).max() > 1e-3
    old = from_keras(tmp_path / "new.h5", keras_version="2.4.0").predict(reference.X)
    assert_same(old, reference.alone)


@pytest.mark.usefixtures("read_within")
def test_a_stateful_layer_goes_on(tmp_path: Path) -> None:
    """Two halves of a sequence are the whole one; other rows need `reset_states`."""
    reference = references()["gru_no_bias"]
    config = json.loads(json.dumps(reference.config))
    config["config"]["layers"][-1]["config"]["stateful"] = True
    model = from_keras(write_h5(Reference(config, reference.weights), tmp_path / "m.h5"))
    x, expected = reference.X[2], reference.alone[2]
    model.predict([x[:4]])
    assert_same(model.predict([x[4:]]), [expected])
    with pytest.raises(DataError, match=r"carries the states of 1 sequences\. Got 2"):
        model.predict([x, x])
    model.reset_states()
    assert_same(model.predict([x]), [expected])


@pytest.mark.usefixtures("read_within")
def test_what_the_network_reads(tmp_path: Path) -> None:
    model, _ = imported("lstm", tmp_path)
    for given, message in (
        (["a text"], "reads ids. Got texts. Import it with its tokenizer"),
        ([[1, 11]], r"\[0, 11\). Got 1 to 11. Use the tokenizer"),
        ([[1, -1]], r"Got -1 to 1"),
        ([[0.5]], "reads ids: whole numbers"),
        ([np.zeros((2, 3))], "reads ids: whole numbers"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(given)
    assert model.predict([]).shape == (0, 1) and model.predict(np.ones((2, 3), int)).shape == (2, 1)
    assert model.predict([[]]).shape == (1, 1)
    model, _ = imported("gru_no_bias", tmp_path)
    with pytest.raises(DataError, match=r"series of 3 features, \(T, 3\) each"):
        model.predict([np.zeros((4, 2), np.float32)])
    assert "reads series of 3 features" in model.summary() and "read as it is" in model.summary()
    model, _ = imported("strided", tmp_path)
    with pytest.raises(DataError, match=r"Layer 'conv1d.*over 3 steps needs sequences of 3 at least\. Got 2"):
        model.predict([np.zeros((2, 3)), np.zeros((5, 3))])
    model, _ = imported("flatten", tmp_path)
    assert model.inputs[0].padding.maxlen == MAXLEN and model.predict([[1], [2] * 9]).shape == (2, 2)


@pytest.mark.usefixtures("read_within")
def test_the_tokenizer(tmp_path: Path) -> None:
    """Texts are what Keras' tokenizer makes of them, in the file that its recipes write."""
    from keras_preprocessing.text import Tokenizer

    texts = ["the cat sat", "the dog", "the cat ate the dog"]
    tokenizer = Tokenizer(num_words=6, oov_token="<OOV>")
    tokenizer.fit_on_texts(texts)
    plain, wrapped = tmp_path / "plain.json", tmp_path / "wrapped.json"
    plain.write_text(tokenizer.to_json())
    wrapped.write_text(json.dumps(tokenizer.to_json()))
    new = [*texts, "an unknown dog", ""]
    by_ids, _ = imported("lstm", tmp_path)
    expected = by_ids.predict(tokenizer.texts_to_sequences(new))
    for path in (plain, wrapped):
        model, _ = imported("lstm", tmp_path, tokenizer=path)
        model.save(tmp_path / "m.zip")
        assert np.array_equal(unspool.load(tmp_path / "m.zip").predict(new), expected)
    with pytest.raises(ModelFileError, match="a tokenizer is for a network that begins with an embedding"):
        imported("gru_no_bias", tmp_path, tokenizer=plain)
    with pytest.raises(DataError, match="Got one text; put it in a list"):
        model.predict("the cat")
