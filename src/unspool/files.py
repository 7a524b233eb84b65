"""Files and folders that are written whole or not at all: beside their place, then renamed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from unspool.errors import ModelFileError
from unspool.ranks import under_torchrun

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a share of it, or what a file may hold


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write bytes to; it takes the place of `path` when the block ends, and is gone where it fails. A missing
    folder is made; of a link, the file that it names is replaced. Who may read a file that was there, stays.

    Raises `OSError` where the disk is full, the folder cannot be written or `path` is a device; what was there is then
    unchanged.
    """
    place = _place(path)
    with made_for_trial(place.parent), named(place, path):
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask())
            os.replace(name, place)
            sync_folder(place.parent)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _place(path: str | os.PathLike[str]) -> Path:
    """The file that `path` names, behind links. `OSError` for a folder, and for what no file can take the place of."""
    place = Path(os.path.realpath(path))
    check_name(place)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if place.exists() and not place.is_file():
        raise OSError(errno.EINVAL, "A device or a pipe is there, and no file", str(path))
    return place


def check_name(path: Path) -> None:
    """`OSError` where a name in `path` is of blanks alone: a slip, whose file nobody would find."""
    if any(not part.strip() for part in path.parts):
        raise OSError(errno.EINVAL, "A name in it is blank", str(path))


@contextmanager
def named(path: Path, given: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """An error of the file beside `path`, or of a full disk, is an `OSError` of `path`. given: how it was called."""
    try:
        yield
    except Exception as error:
        code, name = system_error(error), getattr(error, "filename", None)
        beside = os.path.basename(str(name)).startswith(f".{path.name[:100]}")
        if code is not None and (beside or (name is None and code in FULL)):
            raise OSError(code, os.strerror(code), str(given or path)) from error
        raise


def system_error(error: Exception) -> int | None:
    """The errno of an `OSError`; of an error of a library in Rust (polars), the one in its text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return None if told is None else int(told[1])


@contextmanager
def held(file: IO[bytes], told: str) -> Iterator[None]:
    """Nobody else holds `file` in the block; the system lets go of it when the process ends, however it does. Raises
    `ModelFileError` with what is `told` where another holds it."""
    if os.name != "posix":
        yield
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ModelFileError(told) from None
    except OSError as error:  # some network file systems know no locks
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
    yield


@contextmanager
def alone(path: Path, told: str) -> Iterator[None]:
    """No other process is in such a block of the same `path`, beside which a file PATH.lock is meanwhile; its folder is
    made. Raises `ModelFileError` with what is `told` where one is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(path.name + ".lock")
    with open(place, "ab") as file, held(file, told):
        try:
            there = os.stat(place).st_ino == os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            there = False
        if (
            not there and os.name == "posix"
        ):  # the one that had it was just ending: a third may hold a new file there
            raise ModelFileError(told)
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """The names in a folder are on the disk when this returns, where the system can say so."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems know no sync of folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text`, as UTF-8, in one step; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def check_place(path: Path) -> None:
    """Raise the `OSError` that writing a file to `path` would; a missing folder is made for the trial. Nothing on the
    ranks of torchrun that write nothing."""
    if under_torchrun()[0]:
        return
    place = _place(path)
    with made_for_trial(place.parent), named(place, path):
        tempfile.NamedTemporaryFile(prefix=f".{place.name[:100]}.", dir=place.parent).close()


@contextmanager
def made_for_trial(folder: Path) -> Iterator[None]:
    """`folder` is there in the block; what of it was missing is gone again afterwards, unless something lies in it."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in missing:
            with suppress(OSError):
                place.rmdir()


def move_over(fresh: Path, target: Path, old: Path) -> None:
    """Put `fresh` in the place of `target`; a folder already there ends up at `old` or at `fresh`."""
    if not target.is_dir() or not any(target.iterdir()):
        os.replace(fresh, target)
    elif not _exchange(fresh, target):
        try:
            os.rename(target, old)
            os.rename(fresh, target)
        except BaseException:
            if old.exists() and not target.exists():
                os.rename(old, target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step where the system can (Linux renameat2); False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    at_cwd, exchange = -100, 2
    if renameat2 is None:
        return False
    return renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
