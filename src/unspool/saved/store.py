"""The two parts of a model on disk, as a folder or a zip: written beside and renamed, read within bounds."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unspool.errors import ModelFileError
from unspool.files import FULL, check_name, made_for_trial, move_over, sync_folder
from unspool.ranks import under_torchrun
from unspool.saved.document import FORMAT

DOCUMENT, WEIGHTS = "model.json", "weights.safetensors"
MAX_DOCUMENT = 128 * 2**20  # bytes; a vocabulary of a million words takes about 20 MiB

Parts = tuple[bytes, BinaryIO, int]
#: What `zipfile` raises for a damaged file.
BAD_ZIP = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError)


# --- writing


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise the `ModelFileError` that writing a model to `path` would, by its own steps; what is there stays.
    Nothing on the ranks of torchrun that write nothing."""
    if under_torchrun()[0]:
        return
    target, name = _target(path), os.fspath(path)
    try:
        _check_replaceable(target, name)
        with (
            made_for_trial(target.parent),
            tempfile.TemporaryDirectory(prefix=f".{target.name[:100]}.", dir=target.parent) as work,
        ):
            trial = Path(work) / "old"
            if target.exists():
                _try_to_move(target, trial)
            else:
                trial.mkdir()
                os.rename(trial, target)
                target.rmdir()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"A model cannot be saved to {name!r}: {reason}. Save elsewhere.") from error


def _try_to_move(target: Path, place: Path) -> None:
    """The `OSError` that moving `target` away would be. Nothing moves, since a folder that is not empty is at `place`:
    that the system finds last."""
    (place / "something").mkdir(parents=True)
    try:
        os.rename(target, place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            raise


def _target(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.realpath(os.path.expanduser(path)))


def write_parts(path: str | os.PathLike[str], document: bytes, weights: bytes) -> None:
    """Write a model to `path`, all or nothing."""
    target = _target(path)
    name = os.fspath(path)
    try:
        _check_replaceable(target, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            fresh = work / "new"
            if _is_zip_path(target):
                _write_file(fresh, _zip_bytes(document, weights))
            else:
                fresh.mkdir()
                _write_file(fresh / DOCUMENT, document)
                _write_file(fresh / WEIGHTS, weights)
            move_over(fresh, target, work / "old")
            sync_folder(target.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        size = (len(document) + len(weights)) / 1e6
        reason = error.strerror or str(error)
        hint = " Free some space or save elsewhere." if error.errno in FULL else ""
        raise ModelFileError(
            f"Cannot save the model ({size:.1f} MB) to {name!r}: {reason}. What was there is unchanged.{hint}"
        ) from error


def _is_zip_path(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _check_replaceable(target: Path, name: str) -> None:
    check_name(target)
    if not target.exists():
        return
    here = Path(os.path.realpath(os.curdir))
    if target == here or target in here.parents:
        raise ModelFileError(
            f"Cannot save to {name!r}: it is the folder that this runs in, or one around it. Name a folder in it, such "
            f"as {os.path.join(name, 'model')!r}."
        )
    if _is_zip_path(target):
        if target.is_file() and (target.stat().st_size == 0 or _names_a_model(target)):
            return
    elif target.is_dir():
        inside = {entry.name for entry in target.iterdir()}
        foreign = sorted(inside - {DOCUMENT, WEIGHTS})
        if not inside or (not foreign and _names_a_model(target)):
            return
        if foreign and DOCUMENT in inside:
            raise ModelFileError(
                f"Cannot save to {name!r}: the folder holds other files beside a model ({foreign[0]!r}). "
                "Move them or save elsewhere."
            )
    raise ModelFileError(
        f"Cannot save to {name!r}: something that is not a saved model is there. Remove it or save elsewhere."
    )


def _names_a_model(target: Path) -> bool:
    try:
        with read_parts(os.fspath(target)) as (document, _, _):
            return FORMAT.encode() in document[:4096]
    except ModelFileError:
        return False


def _write_file(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _zip_bytes(document: bytes, weights: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data, method in (
            (DOCUMENT, document, zipfile.ZIP_DEFLATED),
            (WEIGHTS, weights, zipfile.ZIP_STORED),
        ):
            info = zipfile.ZipInfo(name)  # its date is 1980: the same model gives the same bytes
            info.compress_type, info.external_attr = method, 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


# --- reading


@contextlib.contextmanager
def read_parts(path: str) -> Iterator[Parts]:
    """(the bytes of model.json, the weights as an open stream, their size in bytes)."""
    if os.path.isdir(path):
        yield from _read_folder(Path(path))
    elif os.path.isfile(path):
        yield from _read_zip(path)
    elif os.path.exists(path):
        raise ModelFileError("it is neither a folder nor a file.")
    else:
        raise ModelFileError("there is nothing at this path.")


def _read_folder(folder: Path) -> Iterator[Parts]:
    try:
        for name in (DOCUMENT, WEIGHTS):
            if not stat.S_ISREG((folder / name).stat().st_mode):
                raise ModelFileError(f"{name} is not a file.")
        _check_document_size((folder / DOCUMENT).stat().st_size)
        document = (folder / DOCUMENT).read_bytes()
        stream = open(folder / WEIGHTS, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise ModelFileError(f"the folder has no {Path(str(error.filename)).name}.") from error
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error}).") from error
    with stream:
        yield document, stream, os.fstat(stream.fileno()).st_size


def _read_zip(path: str) -> Iterator[Parts]:
    with contextlib.ExitStack() as opened:
        try:
            archive = opened.enter_context(zipfile.ZipFile(path))
            document_info, weights_info = _check_members(archive)
            with archive.open(document_info) as part:
                # By the chunk: one large read unpacks more than the size that the archive claims.
                document = b"".join(iter(lambda: part.read(2**20), b""))
            stream = opened.enter_context(archive.open(weights_info))
        except OSError as error:
            raise ModelFileError(f"it cannot be read ({error.strerror or error}).") from error
        except ModelFileError:
            raise
        except BAD_ZIP as error:
            raise ModelFileError(f"it is neither a folder nor a readable zip ({error}).") from error
        yield document, stream, weights_info.file_size  # type: ignore[misc]


def _check_members(archive: zipfile.ZipFile) -> tuple[zipfile.ZipInfo, zipfile.ZipInfo]:
    infos = archive.infolist()
    names = sorted(info.filename for info in infos)
    if names != [DOCUMENT, WEIGHTS]:
        raise ModelFileError(f"the zip must hold {DOCUMENT} and {WEIGHTS} and nothing else. Got {names[:6]}.")
    document, weights = sorted(infos, key=lambda info: info.filename)
    _check_document_size(document.file_size)
    if weights.compress_type != zipfile.ZIP_STORED or weights.compress_size != weights.file_size:
        raise ModelFileError(f"{WEIGHTS} must be stored in the zip uncompressed.")
    return document, weights


def _check_document_size(size: int) -> None:
    if size > MAX_DOCUMENT:
        raise ModelFileError(f"{DOCUMENT} is larger than {MAX_DOCUMENT // 2**20} MiB. Got {size:,} bytes.")
