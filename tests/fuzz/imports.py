"""Models of other libraries: Keras' configuration and archive, ONNX' bytes.

HDF5 is read by a process of its own, since its library may crash; here within this one, and unchanged.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
from importing.conftest import read_here
from importing.onnx_cases import recurrent, save
from importing.reference import FILES, Reference, several, write_h5, write_keras
from importing.test_stacked_cells import X as SERIES
from importing.test_stacked_cells import stack
from importing.test_vectorizer import TEXTS, written

import unspool
from unspool.importing import from_keras, from_onnx, hdf5

from .mutations import HUGE, changed_bytes, changed_json

DOCUMENTS = ["config.json", "config.json", "config.json", "metadata.json"]
VOCABULARY = "assets/layers/text_vectorization/vocabulary.txt"


def target(folder: Path) -> Callable[[random.Random], None]:
    kept = [_parts(path) for path in (FILES / "tagger.keras", FILES / "masked_series.keras")]
    save(recurrent("LSTM"), folder / "whole.onnx")
    onnx = (folder / "whole.onnx").read_bytes()

    def case(rng: random.Random) -> None:
        if rng.random() < 0.6:
            _changed(rng.choice(kept), folder / "m.keras", rng)
            return
        (folder / "m.onnx").write_bytes(changed_bytes(onnx, rng))
        from_onnx(folder / "m.onnx")

    return case


def of_several(folder: Path) -> Callable[[random.Random], None]:
    """Networks of several inputs and outputs, of shapes, operations and models within them, saved, loaded and asked for
    answers."""
    nested = several("nested.npz")
    shapes = {name: nested[name] for name in ("reshaped", "fixed", "dots", "operations")}
    kept: list[Any] = [(_parts(FILES / "nested.keras"), nested["nested"].X)] * 3
    for name, reference in {**several(), **shapes}.items():
        kept.append((_parts(write_keras(reference, folder / f"{name}.keras")), reference.X))

    def case(rng: random.Random) -> None:
        parts, X = rng.choice(kept)
        _changed(parts, folder / "m.keras", rng).save(folder / "m")
        model = unspool.load(folder / "m")
        wanted = [given.name for given in model.inputs]
        model.predict(X if rng.random() < 0.5 else {name: X.get(name, [[1]] * 4) for name in wanted})

    return case


def of_forms(folder: Path) -> Callable[[random.Random], None]:
    """Words in a file within an archive; stacked cells and operations in HDF5; saved, loaded and asked for answers."""
    archive = _parts(written(folder))
    entry, weights = stack(["LSTM", "GRU"])
    start = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, 5], "name": "x"}}
    cells = {"class_name": "Sequential", "config": {"layers": [start, entry]}, "keras_version": "2.15.0"}
    rnn = [array for own in weights for array in own]
    operations = several("nested.npz")["operations"]
    kept = [
        (write_h5(Reference(cells, {"rnn": rnn}), folder / "cells.h5"), SERIES),
        (write_h5(operations, folder / "operations.h5"), operations.X),
    ]

    def case(rng: random.Random) -> None:
        if rng.random() < 0.4:
            X: Any = [text for text in TEXTS if text]  # the largest token of none is refused
            parts = dict(archive)
            if rng.random() < 0.4:
                parts[VOCABULARY] = changed_bytes(archive[VOCABULARY], rng)
            found = _changed(parts, folder / "m.keras", rng, ["config.json"])
        else:
            path, X = rng.choice(kept)
            shutil.copy(path, folder / "m.h5")
            with h5py.File(folder / "m.h5", "r+") as file:
                text = _text(file.attrs["model_config"], rng)
                file.attrs["model_config"] = text.replace(b"\x00", b" ")  # h5py writes no text with such
            with mock.patch.object(hdf5, "read", read_here):
                found = from_keras(folder / "m.h5")
        found.save(folder / "m")
        unspool.load(folder / "m").predict(X)

    return case


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _text(document: bytes | str, rng: random.Random) -> bytes:
    """A changed document, or its changed bytes."""
    text = json.dumps(changed_json(json.loads(document), rng)).replace(f'"{HUGE}"', "1e999").encode()
    return text if rng.random() < 0.9 else changed_bytes(text, rng)


def _changed(parts: dict[str, bytes], path: Path, rng: random.Random, names: list[str] = DOCUMENTS) -> Any:
    """The model of an archive of which one of the documents, or bytes, are changed."""
    parts = dict(parts)
    name = rng.choice(names)
    parts[name] = _text(parts[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    data = stream.getvalue()
    path.write_bytes(data if rng.random() < 0.9 else changed_bytes(data, rng))
    with mock.patch.object(hdf5, "read", read_here):
        return from_keras(path)
