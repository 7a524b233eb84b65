"""Models of other libraries: Keras' configuration and archive, ONNX' bytes.

HDF5 is read by a process of its own, since its library may crash; here within this one, and unchanged.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from importing.conftest import read_here
from importing.onnx_cases import recurrent, save
from importing.reference import FILES, several, write_keras

import unspool
from unspool.importing import from_keras, from_onnx, hdf5

from .mutations import HUGE, changed_bytes, changed_json


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


def _parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _changed(parts: dict[str, bytes], path: Path, rng: random.Random) -> Any:
    """The model of an archive whose documents, or bytes, are changed."""
    parts = dict(parts)
    name = rng.choice(["config.json", "config.json", "config.json", "metadata.json"])
    text = json.dumps(changed_json(json.loads(parts[name]), rng)).replace(f'"{HUGE}"', "1e999").encode()
    parts[name] = text if rng.random() < 0.9 else changed_bytes(text, rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    data = stream.getvalue()
    path.write_bytes(data if rng.random() < 0.9 else changed_bytes(data, rng))
    with mock.patch.object(hdf5, "read", read_here):
        return from_keras(path)
