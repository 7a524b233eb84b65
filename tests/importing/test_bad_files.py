"""Keras files that are damaged, hostile or beyond what is supported: one `ModelFileError` that says which."""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from unspool.errors import InvalidParameterError, ModelFileError
from unspool.importing import from_keras

from .reference import FILES, Reference, references, several, write_h5, write_keras


def refused(path: Path, message: str, **settings: Any) -> None:
    with pytest.raises(ModelFileError, match="Cannot import") as caught:
        from_keras(path, **settings)
    assert re.search(message, str(caught.value)), str(caught.value)


def with_config(name: str, change: Callable[[list[dict[str, Any]]], None], folder: Path) -> Path:
    reference = references().get(name) or several()[name]
    config = json.loads(json.dumps(reference.config))
    inner = config["config"]
    change(inner if isinstance(inner, list) else inner["layers"])
    return write_h5(Reference(config, reference.weights), folder / "m.h5")


def setting(at: int, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda layers: layers[at]["config"].update(values)


def replaced(at: int, kind: str, **config: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda layers: layers[at].update(class_name=kind, config={"name": "odd", **config})


def drop(at: int, name: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda layers: layers[at]["config"].pop(name)


def residual(layers: list[dict[str, Any]]) -> None:
    """What the first attention reads is read by the second one, too."""
    second = [layer for layer in layers if layer["class_name"] == "MultiHeadAttention"][1]
    place = next(layer for layer in layers if layer["class_name"] == "Embedding")["inbound_nodes"]
    number = next(k for k, one in enumerate(place) if "source" in json.dumps(one))
    old = second["inbound_nodes"][0]["kwargs"]["query"]["config"]
    old["keras_history"] = ["embedding", number, 0]


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "lstm",
            replaced(2, "Lambda", function=["4wE=", None]),
            r"'odd' \(Lambda\) is Python code, which is never",
        ),
        (
            "lstm",
            replaced(2, "ConvLSTM1D", filters=8, kernel_size=[3]),
            r"'odd' \(ConvLSTM1D\).*'filters': 8, 'kernel_size'",
        ),
        (
            "functional",
            replaced(9, "MultiHeadAttention", num_heads=2, key_dim=3),
            r"'global.*' \(MultiHeadAttention\) must have four kernels of three axes. Got \[\]",
        ),
        (
            "functional",
            replaced(9, "Attention", use_scale=True, score_mode="cosine"),
            r"'global.*' \(Attention\) is supported with score_mode 'dot' or 'concat' only. Got score_mode=cosine",
        ),
        (
            "functional",
            replaced(9, "AdditiveAttention", use_scale=False, causal=True),
            r"\(AdditiveAttention\) is supported with causal off only. Got causal=True",
        ),
        ("lstm", replaced(2, "Functional", layers=[]), "must have 1 to 10,000 layers. Got 0"),
        ("lstm", lambda ls: ls[3].update(module="mine.layers"), "of the module 'mine.layers', whose code"),
        ("lstm", setting(3, units=10**18), r"units an int in \[1, 2\*\*24\)"),
        ("lstm", setting(3, units=4), r"'lstm.*' \(LSTM\) must have weights of shapes \[\(4, 16\)"),
        ("lstm", setting(3, units="3"), "'units' must be int"),
        (
            "lstm",
            setting(3, activation="mine"),
            r"'lstm.*' \(LSTM\) is supported with activation one of.*Got .*mine",
        ),
        ("lstm", setting(3, activation={"class_name": "f"}), "supported with activation one of"),
        ("lstm", setting(3, activation="hard_sigmoid_keras2"), "supported with activation one of"),
        ("lstm", setting(3, time_major=True), "supported with time_major off only"),
        ("lstm", setting(3, peephole=True), "a setting that is not known: peephole=True"),
        ("lstm", setting(4, quantization_config={"a": 1}), "quantization_config off"),
        ("lstm", setting(4, units=10**12), "must have weights of shapes"),
        ("lstm", drop(3, "recurrent_activation"), "no field 'recurrent_activation'"),
        ("lstm", setting(1, input_dim=2**40), r"'embedding.*' \(Embedding\) must have weights of shapes"),
        ("lstm", lambda ls: ls.pop(), "weights of a layer 'dense.*', which its configuration does not have"),
        ("lstm", lambda ls: ls.clear(), "1 to 10,000 layers. Got 0"),
        ("lstm", lambda ls: ls.insert(1, ls[1]), "two layers of the name 'embedding"),
        ("lstm", setting(3, return_sequences=1), "'return_sequences' must be bool"),
        ("sum", setting(2, merge_mode=None), "merge_mode one of"),
        ("sum", lambda ls: ls[2]["config"]["layer"].update(class_name="ConvLSTM1D"), "around 'ConvLSTM1D'"),
        (
            "tagger",
            lambda ls: ls[3]["config"]["layer"].update(class_name="LSTM"),
            r"'time_.*/dense.*' \(LSTM\) is not",
        ),
        ("pools", setting(4, keepdims=True), "keepdims off"),
        ("pools", setting(3, axis=0), "axis the last one"),
        ("flatten", setting(0, batch_shape=[None, "6"]), "ints and nulls"),
        (
            "flatten",
            setting(0, batch_shape=[None, 7]),
            "layers do not fit each other. Layer 'dense.*takes 12 features",
        ),
        ("flatten", setting(0, batch_shape=[None, 2**30]), "100,000 at most"),
        ("gru_no_bias", setting(0, batch_shape=[None, 3]), "the layers do not fit|must be a sequence"),
        ("gru_no_bias", setting(0, batch_shape=[None, None, 2**24]), r"1 to 1,048,576 features"),
        ("masked_series", setting(2, mask_value=None), "called with a mask of its own"),
        (
            "translation",
            lambda ls: ls[-2].update(inbound_nodes=[[["time_distributed", 0, 0]]]),
            "reads, in the end, itself",
        ),
        ("functional", lambda ls: ls[-1].update(inbound_nodes=[{"args": [], "kwargs": {}}]), "one argument"),
        (
            "functional",
            lambda ls: ls[-1].update(inbound_nodes=[[["words", 0, 1]]]),
            "reads output 1 of 'words'",
        ),
        (
            "functional",
            lambda ls: ls[-1].update(inbound_nodes=[[["words", 0, 0, {"mask": 1}]]]),
            "called with mask=1",
        ),
        (
            "functional",
            lambda ls: ls[-1].update(inbound_nodes=[[["words", 0, 0, {"mask": ["words", 0, 0]}]]]),
            "called with a mask of its own",
        ),
        (
            "functional",
            lambda ls: ls[-1].update(inbound_nodes=[[["words", 0, 0, {"mask": ["_CONSTANT_VALUE", -1, 1]}]]]),
            "called with a mask of its own",
        ),
        (
            "functional",
            lambda ls: ls[-1].update(inbound_nodes=[[["nowhere", 0, 0]]]),
            "a layer 'nowhere', which it",
        ),
        ("windows", setting(2, padding="reflect"), "padding 'valid', 'same' or 'causal' only"),
        ("windows", setting(2, groups=2), "groups an int that divides the filters only"),
        ("windows", setting(2, groups=3), "A convolution takes 12 features. Got 4"),
        ("windows", setting(2, kernel_size=[3, 3]), r"kernel_size an int in"),
        ("windows", setting(3, padding="reflect"), "padding 'valid' or 'same' only"),
        ("windows", setting(3, pool_size=10**5, strides=10**5), "windows over time need 200,001 steps"),
        ("functional", setting(1, mask_zero=False), "called with a mask of its own"),
        ("heads", setting(3, num_heads=3), r"'multi.*' \(MultiHeadAttention\) must have weights of shapes"),
        ("heads", setting(3, use_gate=True), "use_gate off"),
        ("heads", setting(3, attention_axes=[1, 2]), "attention_axes 1, the steps, only"),
        (
            "heads",
            residual,
            r"'multi.*' \(MultiHeadAttention\) reads steps that are masked, and whose mask Keras 3",
        ),
        (
            "merges",
            replaced(-2, "Dot", axes=2),
            "Layer 'dot_1': Dot over axis 2 needs sequences",
        ),
        (
            "asked",
            lambda ls: ls[6].update(class_name="Dot", config={"axes": [2, 3]}),
            r"supported with axes 1, .* Got axes=\[2, 3\]",
        ),
    ],
)
def test_what_is_not_supported(name: str, change: Any, message: str, tmp_path: Path) -> None:
    path = with_config(name, change, tmp_path)
    started = time.process_time()
    refused(path, message)
    assert time.process_time() - started < 5


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(input_layers=[["words", 0, 0], ["age", 0, 0]]),
            "its input 'age' is no input layer",
        ),
        (
            lambda c: c.update(input_layers={"a": {"b": ["dense", 0, 0]}}),
            "its input 'dense' is no input layer",
        ),
        (lambda c: c.update(input_layers=[]), "1 to 10,000 input layers. Got 0"),
        (lambda c: c.update(output_layers=[["age", 0, 0]]), "a layer 'age', which it"),
        (lambda c: c.update(output_layers=[["words", 0, 0]]), "output 'words' is one of its inputs"),
        (lambda c: c.update(output_layers={"a": ["words", 0]}), r"not \[name, call, number\]"),
        (lambda c: c.update(output_layers=7), "'output_layers' must be list"),
        (
            lambda c: c.update(
                input_layers=[["words", 0, 0], ["new", 0, 0]],
                layers=[*c["layers"], {**c["layers"][0], "name": "new", "config": {"name": "new"}}],
            ),
            "number of features of its input 'new'",
        ),
    ],
)
def test_inputs_and_outputs(change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    reference = references()["functional"]
    config = json.loads(json.dumps(reference.config))
    change(config["config"])
    refused(write_h5(Reference(config, reference.weights), tmp_path / "m.h5"), message)


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable JSON"),
        ("[]", "must be a JSON object"),
        ("[" * 10**5, "not readable JSON"),
        ('{"class_name": "Sequential", "config": 1e999}', "not a finite number"),
        ('{"class_name": "Sequential", "config": NaN}', "not a finite number"),
        ('{"class_name": "Sequential", "config": "\\ud800"}', "not readable JSON"),
        (f'{{"class_name": "Sequential", "config": {"9" * 5000}}}', "not readable JSON"),
        ('{"class_name": "Mine", "config": {}}', "it is a 'Mine'"),
        (
            '{"class_name": "Functional", "config": {"layers": [{"class_name": 3}]}}',
            "'class_name' must be str",
        ),
    ],
)
def test_configurations(text: str, message: str, tmp_path: Path) -> None:
    path = write_h5(references()["lstm"], tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = text.encode()
    refused(path, message)


def damage(kind: str, file: Any) -> None:
    root = file["model_weights"]
    layer = next(name for name in root if name.startswith("lstm"))
    place = f"{layer}/{layer}/w_0:0"
    if kind == "names":  # 4,000 times a long text
        del root.attrs["layer_names"]
        root.attrs.create("layer_names", ["x" * 2**16] * 4000, dtype=h5py.string_dtype())
        return
    del root[place]
    if kind == "soft":
        root[place] = h5py.SoftLink("/model_weights")
    elif kind == "external link":
        root[place] = h5py.ExternalLink("/etc/passwd", "/")
    elif kind == "external":
        root.create_dataset(place, (4, 12), "f4", external=[("/etc/passwd", 0, 192)])
    elif kind == "virtual":
        layout = h5py.VirtualLayout((4, 12), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "a", (4, 12))
        root.create_virtual_dataset(place, layout)
    elif kind == "huge":
        root.create_dataset(place, (2**20, 2**20), "f4", chunks=(2**10, 2**10))
    elif kind == "compressed":
        root.create_dataset(place, data=np.zeros((4, 12), "f4"), compression="gzip")
    elif kind == "text":
        root.create_dataset(place, data="weights")
    elif kind == "group":
        root.create_group(place)
    elif kind == "circle":
        root[place] = root
    else:
        assert kind == "missing"


@pytest.mark.usefixtures("read_within")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("soft", r"is a link \(SoftLink\), which is not followed"),
        ("external link", r"is a link \(ExternalLink\), which is not followed"),
        ("external", "kept in another file"),
        ("virtual", "kept in another file"),
        ("huge", "declares 4,398,046,511,104 bytes, and the file holds 0 of them"),
        ("compressed", "compressed, which Keras does not do.*h5repack"),
        ("text", r"not of numbers \(object\)"),
        ("group", "it has no array 'model_weights/lstm"),
        ("circle", "its groups hold each other"),
        ("missing", "it has no array 'model_weights/lstm"),
        ("names", "4,000 texts, too many to be read"),
    ],
)
def test_hdf5_files(kind: str, message: str, tmp_path: Path) -> None:
    path = write_h5(references()["lstm"], tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        damage(kind, file)
    refused(path, message)


@pytest.mark.parametrize("what", ["text", "empty", "cut", "folder", "missing", "crash"])
def test_files_that_are_none(what: str, tmp_path: Path) -> None:
    """The last one made the HDF5 library 2.0.0 crash, process and all."""
    path, whole = tmp_path / "m.h5", (FILES / "sum.h5").read_bytes()
    message = "not a readable HDF5 file"
    if what == "folder":
        path.mkdir()
        message = "Is a directory"
    elif what == "missing":
        message = "No such file"
    elif what == "crash":
        damaged = bytearray(whole)
        for at, value in ((93, 32), (198, 2), (1009, 3), (1387, 64)):
            damaged[at] = value
        path.write_bytes(damaged)
        message = "the HDF5 library crashed on it|not a readable HDF5 file"
    else:
        path.write_bytes({"text": b"weights", "empty": b"", "cut": whole[:2000]}[what])
    refused(path, message)


def bomb(name: str, folder: Path) -> Path:
    """A member of many zeros."""
    path = folder / "m.keras"
    with zipfile.ZipFile(write_keras(references()["lstm"], folder / "whole.keras")) as whole:
        parts = {n: whole.read(n) for n in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, data in parts.items():
            archive.writestr(part, bytes(66 * 2**20) if part == name else data)
    return path


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json"])
def test_zip_bombs(name: str, tmp_path: Path) -> None:
    refused(bomb(name, tmp_path), rf"'{name}' unpacks to 69,206,016 bytes")


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    path = bomb("model.weights.h5", tmp_path)
    data = path.read_bytes()
    size = (66 * 2**20).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))
    refused(path, "not a readable zip")


def test_zips_that_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    refused(path, "must hold 'metadata.json', once")
    reference = references()["lstm"]
    odd = Reference({**reference.config, "keras_version": "new"}, reference.weights)
    refused(write_keras(odd, path), "must be like '2.4.0'. Got 'new'")


@pytest.mark.usefixtures("read_within")
def test_other_arguments(tmp_path: Path) -> None:
    path = write_h5(references()["lstm"], tmp_path / "m.h5")
    for name, data, message in (
        ("tok.json", b"{}", "not the JSON of a Tokenizer"),
        ("tok.json", b"\xff", "is not UTF-8"),
        ("tok.json", b"[" * 10**5, "not the JSON of a Tokenizer|nested too deeply"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(path, message, tokenizer=tmp_path / name)
    with pytest.raises(InvalidParameterError, match=r"like '2\.4\.0'\. Got 'new'"):
        from_keras(path, keras_version="new")
    refused(path, "cannot be read", tokenizer=tmp_path / "no.json")
    refused(path, "cannot be read", config=tmp_path / "no.json")


def test_damaged_files(tmp_path: Path) -> None:
    """Every outcome is a model or a `ModelFileError`; each file is read in a process of its own."""
    random = np.random.RandomState(0)
    refusals = 0
    for number, name in enumerate(["sum.h5", "sum.h5", "tagger.keras"] * 2):
        data = bytearray((FILES / name).read_bytes())
        for at in random.randint(2000 if name.endswith("h5") else len(data), size=4):
            data[at] = random.randint(256)
        path = tmp_path / f"{number}{name}"
        path.write_bytes(data)
        try:
            from_keras(path)
        except ModelFileError:
            refusals += 1
    assert refusals > 1
