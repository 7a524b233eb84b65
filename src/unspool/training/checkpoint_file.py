"""The file of a checkpoint: two are kept, each with a checksum; what is there is whole at every moment.

The newest is at PATH, the one before at PATH.previous. A new one is written to PATH.part and synced; then the newest
becomes the one before, the part the newest, and the folder is synced. So a process that is killed at any moment, also
in the middle of a write, leaves at least one whole file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

from unspool.errors import ModelFileError, warn_caller
from unspool.files import named, sync_folder
from unspool.saved import tree

MAGIC = b"unspool checkpoint 2\n"
HEAD = len(MAGIC) + 32


def before(path: Path) -> Path:
    """Where the checkpoint before the newest is."""
    return path.with_name(path.name + ".previous")


def write(path: Path, value: Any) -> None:
    """Keep `value` (see `unspool.saved.tree`) at `path`. `OSError` where it cannot, and what was there stays."""
    data = tree.to_bytes(value)
    part = path.with_name(path.name + ".part")
    try:
        with named(path), open(part, "wb") as file:
            write_all(file, MAGIC + hashlib.sha256(data).digest() + data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, before(path))
    os.replace(part, path)
    sync_folder(path.parent)


def write_all(file: BinaryIO, data: bytes) -> None:
    """`data` to `file`."""
    file.write(data)


def read(path: Path) -> Any:
    """The newest whole value at `path`; None where there is no checkpoint.

    Where the newest is damaged, or a write was cut off just before it was put in place, the one before is taken, with a
    warning; the damaged one is then at PATH.damaged. `ModelFileError` where none of both is whole, `OSError` where they
    cannot be read.
    """
    there = [one for one in (path, before(path)) if one.exists()]
    if not there:
        return None
    problems = [] if there[0] == path else [f"{str(path)!r} is not there"]
    for one in there:
        try:
            value = _read(one)
        except ModelFileError as error:
            problems.append(f"{str(one)!r} is damaged, or no checkpoint: {str(error).rstrip('.')}")
            continue
        if problems:
            warn_caller(f"{problems[0]}. The training goes on from the checkpoint before it, {str(one)!r}.")
            if one != there[0]:  # so that the next write does not put it in the place of the whole one
                os.replace(path, path.with_name(path.name + ".damaged"))
        return value
    raise ModelFileError(
        f"Cannot read the checkpoint {str(path)!r}: {'; '.join(problems)}. Remove it, and the training starts anew."
    )


def _read(path: Path) -> Any:
    whole = path.read_bytes()
    if not whole.startswith(MAGIC):
        if whole.startswith(MAGIC[:-2]):
            raise ModelFileError("it was written by another version of unspool.")
        raise ModelFileError(f"it does not begin with {MAGIC.decode().strip()!r}.")
    data = memoryview(whole)[HEAD:]
    if hashlib.sha256(data).digest() != whole[len(MAGIC) : HEAD]:
        raise ModelFileError("its checksum does not match.")
    return tree.from_bytes(data)
