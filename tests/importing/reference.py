"""Models that Keras 3.15.1 made, its outputs for them, and their files in both layouts of weights."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FILES = Path(__file__).parent / "files"
MAXLEN = 6
PARTS = {"LSTM": "cell/vars", "GRU": "cell/vars", "SimpleRNN": "cell/vars", "TimeDistributed": "layer/vars"}


@dataclass
class Reference:
    """config: the JSON of the architecture; weights: by layer; names: theirs, where they say the layer; alone, pre,
    post: Keras' outputs, see make_files.py."""

    config: dict[str, Any]
    weights: dict[str, list[np.ndarray]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    X: list[np.ndarray] = field(default_factory=list)
    alone: list[np.ndarray] = field(default_factory=list)
    pre: Any = None
    post: Any = None

    @property
    def old(self) -> bool:
        return self.config["keras_version"] < "3"

    @property
    def layers(self) -> list[dict[str, Any]]:
        config = self.config["config"]
        return config if isinstance(config, list) else config["layers"]


@cache
def references() -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for name, what, rest, value in _stored("models.npz"):
        if what == "config":
            found[name] = Reference(value)
        elif what == "weight":
            found[name].weights.setdefault(rest[0], []).append(value)
        elif what in ("x", "alone"):
            (found[name].X if what == "x" else found[name].alone).append(value)
        else:
            setattr(found[name], what, value)
    return found


@cache
def several(file: str = "several.npz") -> dict[str, Reference]:
    """Models of several inputs, or outputs: X and alone are dicts by their names, each a list of rows."""
    found: dict[str, Reference] = {}
    for name, what, rest, value in _stored(file):
        if what == "config":
            found[name] = Reference(value, X={}, alone={})  # type: ignore[arg-type]
        elif what == "names":
            found[name].names = value
        elif what == "weight":
            found[name].weights.setdefault(rest[0], []).append(value)
        else:
            values: Any = found[name].X if what == "x" else found[name].alone
            values.setdefault(rest[0], []).append(value)
    return found


def _stored(file: str) -> Iterator[tuple[str, str, list[str], Any]]:
    """(model, what it is, the rest of the key, the value) of a file of make_files.py."""
    with np.load(FILES / file) as opened:
        index, numbers = json.loads(opened["index"].item()), opened["numbers"]
    start = 0
    for key, value in index.items():
        name, what, *rest = key.split("|")
        if what in ("config", "names"):
            yield name, what, rest, json.loads(value)
            continue
        kind, *shape = value
        size = int(np.prod(shape))
        array = numbers[start : start + size].reshape(shape).astype(np.int64 if kind == "i" else np.float32)
        start += size
        yield name, what, rest, array
    assert start == len(numbers)


def write_h5(reference: Reference, path: Path, backend: str = "tensorflow") -> Path:
    """The old layout: a group for each layer, the names of its weights in an attribute."""
    with h5py.File(path, "w") as file:
        config = {key: value for key, value in reference.config.items() if key != "keras_version"}
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = reference.config["keras_version"].encode()
        root = file.create_group("model_weights")
        root.attrs["backend"] = backend.encode()
        root.attrs["layer_names"] = [name.encode() for name in reference.weights]
        for layer, arrays in reference.weights.items():
            group = root.create_group(layer)
            names = reference.names.get(layer) or [f"{layer}/w_{number}:0" for number in range(len(arrays))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, arrays):
                group.create_dataset(name, data=array)
    return path


def write_keras(reference: Reference, path: Path, root: str = "layers") -> Path:
    """The new layout: a zip, groups by class and counter."""
    stream = io.BytesIO()
    names = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn", "Conv1D": "conv1d"}
    counts: Counter[str] = Counter()
    with h5py.File(stream, "w") as file:
        for layer in reference.layers:
            kind, module = layer["class_name"], layer.get("module", "keras.layers")
            stem = names.get(kind) or "".join(f"_{c.lower()}" if c.isupper() else c for c in kind).lstrip("_")
            if ".ops." in module:
                continue
            place = f"{root}/{stem}" + (f"_{counts[stem]}" if counts[stem] else "")
            counts[stem] += 1
            arrays = reference.weights.get(layer["config"].get("name", layer.get("name")), [])
            parts = [(f"{place}/{PARTS.get(kind, 'vars')}", arrays)]
            if kind == "MultiHeadAttention":
                ends, each = ("query", "key", "value", "output"), len(arrays) // 4
                parts = [
                    (f"{place}/{end}_dense/vars", arrays[each * k : each * (k + 1)])
                    for k, end in enumerate(ends)
                ]
            if kind == "Bidirectional":
                half = len(arrays) // 2
                ways = ("forward_layer", arrays[:half]), ("backward_layer", arrays[half:])
                parts = [(f"{place}/{way}/cell/vars", own) for way, own in ways]
            for part, own in parts:
                group = file.create_group(part)
                for number, array in enumerate(own):
                    group.create_dataset(str(number), data=array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": reference.config["keras_version"]}))
        archive.writestr("config.json", json.dumps(reference.config))
        archive.writestr("model.weights.h5", stream.getvalue())
    return path
