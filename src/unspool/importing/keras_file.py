"""The containers of Keras models: `.keras` zips and HDF5 files, old and new. Read with h5py alone; no code is run."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing import hdf5
from unspool.importing.keras_config import KerasLayer, parse
from unspool.saved.store import BAD_ZIP

MAX_JSON = 64 * 2**20  # bytes
RATIO = 20  # times that weights may grow when they are unpacked
ROOTS = ("layers", "_layer_checkpoint_dependencies")
VECTORS = "TextVectorization"
ASSETS = re.compile(rf"assets/(?:{'|'.join(ROOTS)})/(text_vectorization(?:_\d+)?)/vocabulary\.txt")
CONVOLUTIONS = ("Conv1D", "Convolution1D")
RNNS = ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "RNN")


class KerasFile:
    """What a file holds. version: of the Keras that wrote it, None where it does not say; config: None likewise."""

    def __init__(
        self,
        version: str | None,
        config: dict[str, Any] | None,
        root: hdf5.Group,
        words: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.version, self.config, self._root, self._words = version, config, root, words or {}

    def words(self, layers: Mapping[str, KerasLayer]) -> dict[str, list[str]]:
        """The words of each `TextVectorization` by its name, of those that the file has beside its settings."""
        names = [name for name, layer in layers.items() if layer.kind == VECTORS]
        places = [
            f"text_vectorization_{number}" if number else "text_vectorization" for number in range(len(names))
        ]
        return {name: self._words[place] for name, place in zip(names, places) if place in self._words}

    def arrays(self, layers: Mapping[str, KerasLayer]) -> dict[str, list[np.ndarray]]:
        """The weights of each layer by its name, in Keras' order; of a layer "b" of a model "a" by "a/b"."""
        root = self._root.group("model_weights") if "model_weights" in self._root else self._root
        if any(name in root for name in ROOTS):
            return _by_class(root, layers)
        if root.texts("layer_names") is None:
            raise ModelFileError("it holds no weights of a Keras model: no 'layers', no 'layer_names'.")
        found = _by_name(root, layers)
        if root.text("backend") == "theano":  # its convolutions run through their kernels from the end
            for name, layer in layers.items():
                if layer.kind in CONVOLUTIONS and found.get(name):
                    found[name][0] = found[name][0][::-1]
        return found


def read(path: str | os.PathLike[str]) -> KerasFile:
    """The file at `path`; `ModelFileError` where it is no Keras model."""
    name = os.path.expanduser(os.fspath(path))
    try:
        zipped = zipfile.is_zipfile(name)
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error}).") from error
    if zipped:
        parts = _read_zip(name)
        version = parse(parts["metadata.json"]).get("keras_version")
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "model.weights.h5"
            weights.write_bytes(parts["model.weights.h5"])
            return KerasFile(
                _version(version), parse(parts["config.json"]), hdf5.read(weights), _words(parts)
            )
    root = hdf5.read(name)
    config = root.text("model_config")
    version = root.text("keras_version")
    if version is None and "model_weights" in root:
        version = root.group("model_weights").text("keras_version")
    legacy = config is not None or root.texts("layer_names") is not None
    # Files of Keras 1.0 and before do not name a version.
    version = "1.0" if version is None and legacy else version
    return KerasFile(_version(version), None if config is None else parse(config), root)


def _version(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and re.match(r"\d+\.\d+", value)):
        raise ModelFileError(f"its Keras version must be like '2.4.0'. Got {str(value)[:40]!r}.")
    return value


# --- the two layouts of weights


def _by_name(root: hdf5.Group, layers: Mapping[str, KerasLayer]) -> dict[str, list[np.ndarray]]:
    """A group for each layer, with the names of its weights in an attribute."""
    found: dict[str, list[np.ndarray]] = {}
    known = set(root.texts("layer_names") or [])
    for name in layers:
        if name not in known or name not in root:
            found[name] = []
            continue
        group = root.group(name)
        arrays = {weight: group.array(weight) for weight in group.texts("weight_names") or []}
        found |= _shared_out(layers[name], arrays)
    weighted = [
        name
        for name in sorted(known - set(layers))
        if name in root and root.group(name).texts("weight_names")
    ]
    if weighted:
        raise ModelFileError(
            f"it has weights of a layer {weighted[0]!r}, which its configuration does not have."
        )
    return found


def _shared_out(
    layer: KerasLayer, arrays: dict[str, np.ndarray], place: str = ""
) -> dict[str, list[np.ndarray]]:
    """The weights of a layer, or of each layer in a model, whose names they begin with."""
    full = f"{place}{layer.name}"
    if layer.inside is None:
        return {full: list(arrays.values())}
    parts: dict[str, dict[str, np.ndarray]] = {name: {} for name in layer.inside.layers}
    owners = {inner: name for name, one in layer.inside.layers.items() for inner in _names(one)}
    for name in parts:
        owners[name] = name
    for weight, array in arrays.items():
        owner = next((owners[part] for part in weight.split("/") if part in owners), None)
        if owner is None:
            raise ModelFileError(f"its weight {weight!r} belongs to no layer of {layer.where}.")
        parts[owner][weight] = array
    found: dict[str, list[np.ndarray]] = {}
    for name, own in parts.items():
        found |= _shared_out(layer.inside.layers[name], own, f"{full}/")
    return found


def _names(layer: KerasLayer) -> Iterator[str]:
    """Of the layers in a model, at any depth."""
    for name, inner in layer.inside.layers.items() if layer.inside is not None else ():
        yield from _names(inner)
        yield name


def _by_class(root: hdf5.Group, layers: Mapping[str, KerasLayer]) -> dict[str, list[np.ndarray]]:
    """Groups named by class and counter, with weights in `vars/0`, `vars/1`, ..."""
    top = next((root.group(name) for name in ROOTS if name in root), root)
    found: dict[str, list[np.ndarray]] = {}
    placed = {name: layer for name, layer in layers.items() if not layer.operation}
    for (name, layer), place in zip(placed.items(), _numbered(layer.kind for layer in placed.values())):
        if layer.kind == VECTORS:  # it has words
            continue
        if layer.inside is not None:
            inner = _by_class(top.group(place), layer.inside.layers) if place in top else {}
            found |= {f"{name}/{part}": arrays for part, arrays in inner.items()}
            continue
        # Keras 2.12 to 2.15 write the parts of an attention under private names; cuDNN's layers have no cell.
        found[name] = [
            array
            for part in _parts(layer)
            for array in _vars(top, f"{place}/{part}")
            or _vars(top, f"{place}/_{part}")
            or _vars(top, f"{place}/{part.replace('cell/', '')}")
        ]
    return found


def _parts(layer: KerasLayer) -> list[str]:
    kind, config = layer.kind, layer.config.data
    if kind == "Bidirectional":
        forward = config.get("layer")
        backward = config.get("backward_layer") or forward
        return [
            f"{way}_layer/{part}"
            for way, one in (("forward", forward), ("backward", backward))
            for part in _cells(one)
        ]
    if kind in RNNS:
        return _cells({"config": config})
    if kind == "MultiHeadAttention":
        return [f"{part}_dense/vars" for part in ("query", "key", "value", "output")]
    return ["layer/vars"] if kind == "TimeDistributed" else ["vars"]


def _cells(layer: Any) -> list[str]:
    """Of a recurrent layer, whose cell may be a stack of them."""
    place = layer
    for name in ("config", "cell", "config"):
        place = place.get(name) if isinstance(place, dict) else None
    cells = place.get("cells") if isinstance(place, dict) else None
    if not isinstance(cells, list):
        return ["cell/vars"]
    kinds = [str(cell.get("class_name")) if isinstance(cell, dict) else "" for cell in cells]
    return [f"cell/cells/{one}/vars" for one in _numbered(kinds)]


def _numbered(kinds: Iterable[str]) -> Iterator[str]:
    """The groups of layers of these classes: by class, and by counter."""
    counts: Counter[str] = Counter()
    for stem in map(snake_case, kinds):
        yield f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1


def _vars(top: hdf5.Group, place: str) -> list[np.ndarray]:
    if place not in top:
        return []
    group = top.group(place)
    return [group.array(str(number)) for number in range(len(group.names()))]


def snake_case(name: str) -> str:
    """ "TimeDistributed" -> "time_distributed", "LSTM" -> "lstm", "GlobalMaxPooling1D" -> "global_max_pooling1d"."""
    split = re.sub(r"(?<=.)(?=[A-Z][a-z]+)", "_", re.sub(r"\W", "", name))
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", split).lower()


# --- the zip


def _read_zip(path: str) -> dict[str, bytes]:
    needed = ("metadata.json", "config.json", "model.weights.h5")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            missing = [name for name in needed if names.count(name) != 1]
            if missing:
                raise ModelFileError(f"the zip must hold {missing[0]!r}, once. Is it a .keras file?")
            wanted = [*needed, *(name for name in names if ASSETS.fullmatch(name))]
            return {name: _read_member(archive, archive.getinfo(name)) for name in wanted}
    except ModelFileError:
        raise
    except (*BAD_ZIP, OSError) as e:
        raise ModelFileError(f"it is not a readable zip ({e}).") from e


def _words(parts: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Of each `TextVectorization` by its place in the file: a word a line."""
    found = {}
    for name, data in parts.items():
        place = ASSETS.fullmatch(name)
        if place is not None:
            try:
                found[place[1]] = data.decode().split("\n") if data else []
            except UnicodeDecodeError as error:
                raise ModelFileError(f"{name!r} is not UTF-8 text.") from error
    return found


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    limit = MAX_JSON if info.filename.endswith((".json", ".txt")) else RATIO * info.compress_size + 2**20
    if info.file_size > limit:
        raise ModelFileError(f"{info.filename!r} unpacks to {info.file_size:,} bytes, more than is read.")
    with archive.open(info) as part:
        # By the chunk: one large read unpacks more than the size that the archive claims.
        return b"".join(iter(lambda: part.read(2**20), b""))
