"""Reads an HDF5 file in a process of its own, whose end, however it comes, is an error of the importer alone.

The HDF5 library is C, and damaged files make it crash. Run as a script with the file's path; it imports h5py and numpy,
nothing of ours, and writes records to stdout: a line of JSON, then as many bytes as its "bytes" says.

{"path", "attributes": {name: text, list of texts, or {"refused": reason}}}   a group
{"path", "shape", "bytes"}                                                     an array, float32
{"path", "refused": reason}                                                    a link, or an array that is not read
{"end": true} or {"error": reason}
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MAX_TEXT = 64 * 2**20  # bytes of one text
MAX_NAMES = 10_000  # texts in one attribute
MAX_ALL_NAMES = 2**28  # bytes of all texts of an attribute, as far as they can be told before
MAX_THINGS = 100_000  # groups and arrays
SKIPPED = ("optimizer", "optimizer_weights")
MEMORY = 2 * 2**30  # bytes beside four times the file


class Refused(Exception):
    """What cannot be read, in words."""


def main(path: str, out: Any) -> None:
    """Write the records of the file at `path` to the binary stream `out`."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _walk(h5py, file, out)
        _record(out, {"end": True})
    except (
        OSError,
        KeyError,
        RuntimeError,
        ValueError,
        TypeError,
        OverflowError,
        UnicodeError,
        MemoryError,
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        _record(out, {"error": text[:200]})
    except Refused as error:
        _record(out, {"error": str(error)})
    out.flush()


def _limit(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit = MEMORY + 4 * size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _record(out: Any, record: dict[str, Any]) -> None:
    out.write(json.dumps(record).encode() + b"\n")


def _walk(h5py: Any, file: Any, out: Any) -> None:
    import numpy as np

    file_size = file.id.get_filesize()
    seen: set[Any] = set()
    waiting = [("", file)]
    while waiting:
        path, group = waiting.pop()
        attributes = {name: _attribute(h5py, group, name, file_size) for name in _names(group.attrs)}
        _record(out, {"path": path, "attributes": attributes})
        for name in _names(group):
            place = f"{path}/{name}" if path else name
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                _record(
                    out, {"path": place, "refused": f"a link ({type(link).__name__}), which is not followed"}
                )
                continue
            if place in SKIPPED:
                continue
            thing = group[name]
            info = h5py.h5o.get_info(thing.id)
            key = (info.fileno, info.addr)
            if key in seen or len(seen) > MAX_THINGS:
                raise Refused("its groups hold each other, or it holds too many of them")
            seen.add(key)
            if isinstance(thing, h5py.Group):
                waiting.append((place, thing))
            elif isinstance(thing, h5py.Dataset):
                reason = _why_not(thing, file_size)
                if reason:
                    _record(out, {"path": place, "refused": reason})
                else:
                    array = np.ascontiguousarray(thing[()], dtype="<f4").reshape(thing.shape)
                    _record(out, {"path": place, "shape": list(array.shape), "bytes": array.nbytes})
                    out.write(array.data)


def _names(things: Any) -> list[str]:
    if len(things) > MAX_THINGS:
        raise Refused("a group of it holds too many entries")
    return list(things)


def _why_not(dataset: Any, file_size: int) -> str:
    """Why an array is not read; empty where it can be."""
    if dataset.is_virtual or dataset.external:
        return "kept in another file, which is not read"
    if dataset.dtype.kind not in "fiu" or dataset.shape is None:
        return f"not of numbers ({dataset.dtype})"
    if dataset.id.get_create_plist().get_nfilters():
        return "compressed, which Keras does not do. Unpack it with: h5repack -f NONE old new"
    held = min(dataset.id.get_storage_size(), file_size)
    if dataset.nbytes > held:
        return f"damaged: it declares {dataset.nbytes:,} bytes, and the file holds {held:,} of them"
    return ""


def _attribute(h5py: Any, group: Any, name: str, file_size: int) -> Any:
    """A text, or a list of texts; other attributes are refused, which matters only where they are needed."""
    identity = group.attrs.get_id(name)
    shape, kind = identity.shape, identity.dtype.kind
    if kind not in "SUO" or shape is None or len(shape) > 1 or identity.get_storage_size() > MAX_TEXT:
        if shape is not None and len(shape) == 1 and shape[0] == 0:
            return []
        return {"refused": "no text"}
    count = shape[0] if shape else 1
    # Texts of any length each: all may be the one long text of the file.
    if count > MAX_NAMES or (
        kind == "O" and count > 1 and count * _texts_of(h5py, group, file_size) > MAX_ALL_NAMES
    ):
        return {"refused": f"{count:,} texts, too many to be read"}
    value = group.attrs[name]
    values = [_text(v) for v in (value if shape else [value])]
    if any(v is None for v in values):
        return {"refused": "no text"}
    return values if shape else values[0]


def _texts_of(h5py: Any, group: Any, file_size: int) -> int:
    """Bytes of the file that are not numbers of arrays, at most."""
    numbers = 0
    seen: set[Any] = set()
    waiting = [group.file]
    while waiting:
        here = waiting.pop()
        for name in _names(here):
            if not isinstance(here.get(name, getlink=True), h5py.HardLink):
                continue
            thing = here[name]
            info = h5py.h5o.get_info(thing.id)
            if (info.fileno, info.addr) in seen or len(seen) > MAX_THINGS:
                continue
            seen.add((info.fileno, info.addr))
            if isinstance(thing, h5py.Group):
                waiting.append(thing)
            elif isinstance(thing, h5py.Dataset):
                numbers += thing.id.get_storage_size()
    return max(file_size - numbers, 0)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode()
    return str(value) if isinstance(value, str) else None


if __name__ == "__main__":
    _limit(os.path.getsize(sys.argv[1]))
    main(sys.argv[1], sys.stdout.buffer)
