"""HDF5 files read within bounds: plain arrays of numbers, no links out of the file, no sizes that the file lacks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from unspool.errors import ModelFileError

MAX_TEXT = 64 * 2**20  # bytes of a configuration
MAX_NAMES = 10_000  # texts in one attribute
MAX_NAMES_BYTES = 2**30


def load_h5py() -> Any:
    """The module h5py; `ModelFileError` where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise ModelFileError("Reading HDF5 files needs h5py: pip install 'unspool[import]'.") from error
    return h5py


@contextlib.contextmanager
def opened(source: str | bytes) -> Iterator[Group]:
    """The root group of a file, or of its bytes; every error on the way is a `ModelFileError`."""
    h5py = load_h5py()
    if isinstance(source, str):
        source = _checked_path(source)
    stream: str | BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with h5py.File(stream, "r") as file:
            yield Group(h5py, file, "/", file.id.get_filesize())
    except ModelFileError:
        raise
    except MemoryError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, UnicodeError) as error:
        raise ModelFileError(f"it is not a readable HDF5 file ({_line(error)}).") from error


def _checked_path(path: str) -> str:
    """`path`, if a file is there; h5py's own error does not say so plainly."""
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise ModelFileError(f"it cannot be read ({error.strerror or error}).") from error


class Group:
    """A group of an open file."""

    def __init__(self, h5py: Any, group: Any, name: str, file_size: int) -> None:
        self._h5py, self._group, self.name, self._file_size = h5py, group, name, file_size

    def __contains__(self, path: str) -> bool:
        return self._find(path) is not None

    def names(self) -> list[str]:
        """The names of what lies in the group."""
        if len(self._group) > 100_000:
            raise ModelFileError(f"the group {self.name!r} holds {len(self._group):,} entries.")
        return list(self._group)

    def group(self, path: str) -> Group:
        """The group at `path` below this one."""
        found = self._find(path)
        if not isinstance(found, self._h5py.Group):
            raise ModelFileError(f"it has no group {self._full(path)!r}.")
        return Group(self._h5py, found, self._full(path), self._file_size)

    def array(self, path: str) -> np.ndarray:
        """The numbers at `path`, float32."""
        dataset = self._find(path)
        where = repr(self._full(path))
        if not isinstance(dataset, self._h5py.Dataset):
            raise ModelFileError(f"it has no array {where}.")
        if dataset.is_virtual or dataset.external:
            raise ModelFileError(f"the array {where} lies in another file, which is not read.")
        if dataset.dtype.kind not in "fiu" or dataset.shape is None:
            raise ModelFileError(f"the array {where} must hold numbers. Got {dataset.dtype}.")
        plist = dataset.id.get_create_plist()
        if plist.get_nfilters():
            raise ModelFileError(
                f"the array {where} is compressed, which Keras does not do. Unpack it with: h5repack -f NONE old new."
            )
        if dataset.nbytes > dataset.id.get_storage_size() or dataset.nbytes > self._file_size:
            raise ModelFileError(
                f"the array {where} declares {dataset.nbytes:,} bytes, and the file holds "
                f"{dataset.id.get_storage_size():,} of them. It is damaged."
            )
        return np.asarray(dataset[()], dtype=np.float32)

    def text(self, name: str) -> str | None:
        """The text in the attribute `name`; None where there is none."""
        if name not in self._group.attrs:
            return None
        identity = self._group.attrs.get_id(name)
        if identity.shape != () or identity.get_storage_size() > MAX_TEXT:
            raise ModelFileError(f"the attribute {name!r} of {self.name!r} must be one text.")
        return _decoded(self._group.attrs[name], name)

    def texts(self, name: str) -> list[str] | None:
        """The texts in the attribute `name`, or, for long ones, in `name`0, `name`1, ...; None where there are none."""
        if name in self._group.attrs:
            return self._texts(name)
        if f"{name}0" not in self._group.attrs:
            return None
        found: list[str] = []
        for number in range(MAX_NAMES):
            if f"{name}{number}" not in self._group.attrs:
                break
            found += self._texts(f"{name}{number}")
        return found

    def _texts(self, name: str) -> list[str]:
        identity = self._group.attrs.get_id(name)
        count = int(np.prod(identity.shape, dtype=object)) if identity.shape else 0
        if not identity.shape or len(identity.shape) != 1 or count > MAX_NAMES:
            raise ModelFileError(f"the attribute {name!r} of {self.name!r} must be a list of names.")
        if identity.dtype.kind == "O":  # of any length each: many may stand for one long text of the file
            if count * self._text_bytes() > MAX_NAMES_BYTES:
                raise ModelFileError(f"the attribute {name!r} of {self.name!r} may hold too much text.")
        elif identity.dtype.kind not in "SU" and count:
            raise ModelFileError(f"the attribute {name!r} of {self.name!r} must be a list of names.")
        return [_decoded(value, name) for value in self._group.attrs[name]]

    def _text_bytes(self) -> int:
        """Bytes of the file that are not numbers of arrays."""
        numbers = 0
        seen: set[Any] = set()
        waiting = [self._group.file]
        while waiting:
            group = waiting.pop()
            for child in group:
                link = group.get(child, getlink=True)
                if not isinstance(link, self._h5py.HardLink):
                    continue
                thing = group[child]
                info = self._h5py.h5o.get_info(thing.id)
                if (info.fileno, info.addr) in seen:
                    continue
                seen.add((info.fileno, info.addr))
                if len(seen) > 100_000:
                    raise ModelFileError("it holds more than 100,000 groups and arrays.")
                if isinstance(thing, self._h5py.Group):
                    waiting.append(thing)
                elif isinstance(thing, self._h5py.Dataset):
                    numbers += thing.id.get_storage_size()
        return max(self._file_size - numbers, 0)

    def _find(self, path: str) -> Any:
        """What lies at `path`; None where nothing does. Links to elsewhere are refused, wherever they lead."""
        thing = self._group
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(thing, self._h5py.Group):
                return None
            link = thing.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self._h5py.HardLink):
                kind = type(link).__name__
                raise ModelFileError(f"{self._full(path)!r} is a link ({kind}), which is not followed.")
            thing = thing[part]
        return thing

    def _full(self, path: str) -> str:
        return f"{self.name.rstrip('/')}/{path}"


def _decoded(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise ModelFileError(f"the attribute {name!r} must hold text. Got {type(value).__name__}.")
    return str(value)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 200 else f"{text[:197]}..."
