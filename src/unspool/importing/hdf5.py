"""HDF5 files as groups, texts and arrays; they are read by `hdf5_child.py` in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.processes import script

CHILD = Path(__file__).with_name("hdf5_child.py")
SECONDS = 60.0  # beside one for every 10 MB


class Group:
    """A group of a file."""

    def __init__(self, things: dict[str, Any], path: str = "") -> None:
        self._things, self._path = things, path

    def __contains__(self, path: str) -> bool:
        return self._full(path) in self._things

    def names(self) -> list[str]:
        """The names of what lies in the group."""
        before = f"{self._path}/" if self._path else ""
        inside = [
            path[len(before) :] for path in self._things if path.startswith(before) and path != self._path
        ]
        return [name for name in inside if "/" not in name and name]

    def group(self, path: str) -> Group:
        """The group at `path` below this one."""
        if not isinstance(self._find(path), dict):
            raise ModelFileError(f"it has no group {self._full(path)!r}.")
        return Group(self._things, self._full(path))

    def array(self, path: str) -> np.ndarray:
        """The numbers at `path`, float32."""
        found = self._find(path)
        if not isinstance(found, np.ndarray):
            raise ModelFileError(f"it has no array {self._full(path)!r}.")
        return found

    def text(self, name: str) -> str | None:
        """The text in the attribute `name`; None where there is none."""
        found = self._attribute(name)
        if found is not None and not isinstance(found, str):
            raise ModelFileError(f"the attribute {name!r} of {self._path or '/'!r} must be one text.")
        return found

    def texts(self, name: str) -> list[str] | None:
        """The texts in the attribute `name`, or, for long ones, in `name`0, `name`1, ...; None where there are none."""
        if self._attribute(name) is not None:
            return self._texts(name)
        found: list[str] | None = None
        number = 0
        while self._attribute(f"{name}{number}") is not None:
            found = [*(found or []), *self._texts(f"{name}{number}")]
            number += 1
        return found

    def _texts(self, name: str) -> list[str]:
        found = self._attribute(name)
        if not isinstance(found, list):
            raise ModelFileError(f"the attribute {name!r} of {self._path or '/'!r} must be a list of names.")
        return found

    def _attribute(self, name: str) -> Any:
        attributes = self._things[self._path]
        found = attributes.get(name)
        if isinstance(found, dict):
            where = f"the attribute {name!r} of {self._path or '/'!r}"
            raise ModelFileError(f"{where} cannot be read: it holds {found['refused']}.")
        return found

    def _find(self, path: str) -> Any:
        """What lies at `path`; None where nothing does."""
        full = self._full(path)
        parts = full.split("/")
        for end in range(1, len(parts) + 1):
            found = self._things.get("/".join(parts[:end]))
            if isinstance(found, str):
                raise ModelFileError(f"{'/'.join(parts[:end])!r} is {found}.")
        return self._things.get(full)

    def _full(self, path: str) -> str:
        return "/".join(part for part in [*self._path.split("/"), *path.split("/")] if part not in ("", "."))


def read(path: str | os.PathLike[str]) -> Group:
    """The root group of a file. `ModelFileError` where it is no HDF5 file, or its reading fails in any way."""
    name = os.path.abspath(os.fspath(path))
    try:
        with open(name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error}).") from error
    if importlib.util.find_spec("h5py") is None:
        raise ModelFileError("Reading HDF5 files needs h5py: pip install 'unspool[import]'.")
    try:
        done = subprocess.run(
            **script(CHILD, name),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS + size / 1e7,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(f"it is damaged: reading it took longer than {error.timeout:.0f} s.") from error
    except OSError as error:
        raise ModelFileError(f"the process that reads HDF5 files cannot start ({error}).") from error
    return Group(dict(_records(done.stdout, done.returncode)))


def _records(data: bytes, code: int) -> Iterator[tuple[str, Any]]:
    """(path, attributes of a group, an array, or why there is none)."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            break
        record = json.loads(data[at:end])
        at = end + 1
        if "end" in record:
            return
        if "error" in record:
            raise ModelFileError(f"it is not a readable HDF5 file ({record['error']}).")
        if "shape" in record:
            held = record.get("bytes", 0)
            yield (
                record["path"],
                np.frombuffer(data, "<f4", held // 4, at).reshape(record["shape"]).astype(np.float32),
            )
            at += held
        else:
            yield record["path"], record.get("refused", record.get("attributes"))
    raise ModelFileError(f"it is damaged: the HDF5 library crashed on it (exit code {code}).")
