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
from unittest import mock

from importing.conftest import read_here
from importing.onnx_cases import recurrent, save
from importing.reference import FILES

from unspool.importing import from_keras, from_onnx, hdf5

from .mutations import HUGE, changed_bytes, changed_json


def target(folder: Path) -> Callable[[random.Random], None]:
    kept: list[dict[str, bytes]] = []
    for path in (FILES / "tagger.keras", FILES / "masked_series.keras"):
        with zipfile.ZipFile(path) as archive:
            kept.append({name: archive.read(name) for name in archive.namelist()})
    save(recurrent("LSTM"), folder / "whole.onnx")
    onnx = (folder / "whole.onnx").read_bytes()

    def keras(rng: random.Random) -> None:
        parts = dict(rng.choice(kept))
        name = rng.choice(["config.json", "config.json", "config.json", "metadata.json"])
        text = json.dumps(changed_json(json.loads(parts[name]), rng)).replace(f'"{HUGE}"', "1e999").encode()
        parts[name] = text if rng.random() < 0.9 else changed_bytes(text, rng)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for each, data in parts.items():
                archive.writestr(each, data)
        data = stream.getvalue()
        (folder / "m.keras").write_bytes(data if rng.random() < 0.9 else changed_bytes(data, rng))
        with mock.patch.object(hdf5, "read", read_here):
            from_keras(folder / "m.keras")

    def case(rng: random.Random) -> None:
        if rng.random() < 0.6:
            keras(rng)
            return
        (folder / "m.onnx").write_bytes(changed_bytes(onnx, rng))
        from_onnx(folder / "m.onnx")

    return case
