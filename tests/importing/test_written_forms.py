"""Forms of the same model that some versions of Keras write, and others not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from tests.importing.reference import Reference, several, write_h5
from torch.nn import functional

from unspool.errors import ModelFileError
from unspool.importing import from_keras

pytestmark = pytest.mark.usefixtures("read_within")
X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def test_operations_in_hdf5(tmp_path: Path) -> None:
    """Keras 3 writes no modules there."""
    names = [
        name
        for name, one in several("nested.npz").items()
        if any(".ops." in layer.get("module", "") for layer in one.layers)
    ]
    assert names
    for name in names:
        reference = several("nested.npz")[name]
        config = json.loads(json.dumps(reference.config))
        for layer in config["config"]["layers"]:
            layer.pop("module", None)
        again = Reference(config, reference.weights, reference.names)
        model = from_keras(write_h5(again, tmp_path / f"{name}.h5"))
        before = from_keras(write_h5(reference, tmp_path / f"{name}_before.h5"))
        assert [node.kind for node in model.network_.nodes] == [n.kind for n in before.network_.nodes]


def sequential(folder: Path, version: str, weights: dict[str, list[np.ndarray]], **layers: Any) -> Any:
    """A model of one layer, NAME=(class, settings), over series of three features, from an HDF5 file."""
    entries = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, 3], "name": "x"}}]
    for name, (kind, settings) in layers.items():
        entries.append({"class_name": kind, "config": {"name": name, **settings}})
    config = {"class_name": "Sequential", "config": {"layers": entries}, "keras_version": version}
    return from_keras(write_h5(Reference(config, weights), folder / "m.h5"))


def test_a_separable_convolution_of_keras_2(tmp_path: Path) -> None:
    deep, point = np.ones((2, 3, 1), np.float32), np.eye(3, dtype=np.float32)[None]
    settings = {"filters": 3, "kernel_size": [2], "strides": [1], "padding": "valid", "use_bias": False}
    settings |= {"activation": "linear", "groups": 1}
    model = sequential(tmp_path, "2.15.0", {"s": [deep, point]}, s=("SeparableConv1D", settings))
    np.testing.assert_allclose(model.predict(X), X[:, :-1] + X[:, 1:], atol=1e-6)
    with pytest.raises(ModelFileError, match=r"groups 1 only\. Got groups=3"):
        sequential(tmp_path, "2.15.0", {"s": [deep, point]}, s=("SeparableConv1D", settings | {"groups": 3}))


@pytest.mark.parametrize("invert", [False, True])
def test_one_mean_of_all_features(invert: bool, tmp_path: Path) -> None:
    settings = {"axis": [-1], "mean": 0.5, "variance": 4.0, "invert": invert}
    model = sequential(tmp_path, "3.3.0", {}, n=("Normalization", settings))
    expected = X * 2 + 0.5 if invert else (X - 0.5) / 2
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("leaky_relu", lambda x: functional.leaky_relu(x, 0.2)),
        ("celu", functional.elu),
        ("hard_tanh", lambda x: x.clamp(-1, 1)),
        ("hard_shrink", lambda x: x * (x.abs() > 0.5)),
        ("soft_shrink", lambda x: x.sign() * (x.abs() - 0.5).clamp(min=0)),
        ("tanh_shrink", lambda x: x - x.tanh()),
        ("log_sigmoid", lambda x: x.sigmoid().log()),
        ("squareplus", lambda x: (x + (x * x + 4).sqrt()) / 2),
    ],
)
def test_functions_of_keras_3(name: str, function: Any, tmp_path: Path) -> None:
    model = sequential(tmp_path, "3.10.0", {}, a=("Activation", {"activation": name}))
    np.testing.assert_allclose(model.predict(X), function(torch.from_numpy(X)), atol=1e-6)


def test_layers_of_cudnn_in_a_zip(tmp_path: Path) -> None:
    """They have no cell there; one direction and two."""
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 8), (2, 8), (16,)) * 2]
    inner = {"class_name": "CuDNNLSTM", "config": {"name": "inner", "units": 2, "return_sequences": True}}
    both = ("Bidirectional", {"layer": inner, "merge_mode": "concat"})
    expected = sequential(tmp_path, "2.15.0", {"b": arrays}, b=both).predict(X)
    entries = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, 3], "name": "x"}},
        {"class_name": both[0], "config": {"name": "b", **both[1]}},
    ]
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for number, array in enumerate(arrays):
            way = ("forward_layer", "backward_layer")[number // 3]
            file[f"layers/bidirectional/{way}/vars/{number % 3}"] = array
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": entries}})
        )
        archive.write(tmp_path / "weights.h5", "model.weights.h5")
    np.testing.assert_array_equal(from_keras(tmp_path / "m.keras").predict(X), expected)


def test_calls_of_tensorflow_are_named(tmp_path: Path) -> None:
    whole = {"start": None, "stop": None, "step": None}
    layers = [
        {
            "class_name": "InputLayer",
            "name": "x",
            "config": {"batch_input_shape": [None, None, 3]},
            "inbound_nodes": [],
        },
        {
            "class_name": "SlicingOpLambda",
            "name": "last",
            "config": {"function": "__operators__.getitem"},
            "inbound_nodes": [["x", 0, 0, {"slice_spec": [whole, -1]}]],
        },
    ]
    config = {"layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["last", 0, 0]]}
    reference = Reference({"class_name": "Functional", "config": config, "keras_version": "2.15.0"}, {})
    with pytest.raises(
        ModelFileError, match=r"'last' \(SlicingOpLambda\) is a call of TensorFlow, '__operators__"
    ):
        from_keras(write_h5(reference, tmp_path / "m.h5"))
