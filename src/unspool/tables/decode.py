"""Bytes of a file -> text: compression, byte-order marks, encodings; an error says what the bytes are instead."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unspool.errors import DataError

#: Extension -> (how such a file begins, how it is opened).
COMPRESSED: dict[str, tuple[bytes, Callable[[io.BytesIO], Any]]] = {
    ".gz": (b"\x1f\x8b", lambda packed: gzip.GzipFile(fileobj=packed)),
    ".bz2": (b"BZh", bz2.BZ2File),
    ".xz": (b"\xfd7zXZ\x00", lzma.LZMAFile),
}
#: A table may unpack to so many bytes, or to so many times its own size if that is more.
UNPACKED, TIMES = 2**28, 200
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NO_ENCODINGS = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined")
#: How files begin that are no text -> what they are, and what to do.
OTHER = {
    b"PAR1": "a Parquet file. Read it with --format parquet (format='parquet').",
    b"PK\x03\x04": "a zip archive. If it is an Excel sheet, read it with --format xlsx (format='xlsx'); otherwise "
    "unpack it first.",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file. Save it as .xlsx or .csv.",
    b"\x28\xb5\x2f\xfd": "compressed by zstd. Unpack it first, or use gzip.",
    b"SQLite format 3": "an SQLite database. Export the table as .csv.",
    b"%PDF": "a PDF file, not a table.",
    b"ARROW1\0\0": "an Arrow or Feather file. Save it as Parquet: polars.read_ipc(path).write_parquet(...).",
    b"Obj\x01": "an Avro file. Save it as Parquet: polars.read_avro(path).write_parquet(...).",
    b"\x89HDF": "an HDF5 file. Save its table as Parquet or CSV.",
    b"\x93NUMPY": "an array of NumPy. Load it, and pass it to an estimator.",
    b"7z\xbc\xaf": "a 7z archive. Unpack it first.",
    b"Rar!\x1a": "a RAR archive. Unpack it first.",
    b"\x04\x22\x4d\x18": "compressed by LZ4. Unpack it first, or use gzip.",
    b"\x1f\x9d": "compressed by compress. Unpack it first, or use gzip.",
    b"\x89PNG": "a picture, not a table.",
}


def unpack(data: bytes, name: str) -> bytes:
    """`data` without the compression that its first bytes tell of: gzip, bzip2, xz; whatever the extension."""
    for start, opened in COMPRESSED.values():
        if data.startswith(start) and (start != b"BZh" or data[4:10] == b"1AY&SY"):
            limit = max(UNPACKED, TIMES * len(data))
            try:
                with opened(io.BytesIO(data)) as stream:
                    found = stream.read(limit + 1)
                if len(found) <= limit:
                    return found
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise DataError(f"{name!r} cannot be unpacked: {error}. It may be half-written.") from None
            raise DataError(
                f"{name!r}, of {len(data):,} bytes, unpacks to more than {limit:,}, which no table does. If it is one, "
                "unpack it first."
            )
    return data


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A file that holds what `unpack` makes of the one at `path`: itself, or one that is gone afterwards."""
    with open(path, "rb") as file:
        head = file.read(10)
    if not any(head.startswith(start) for start, _ in COMPRESSED.values()):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, path.name)
        plain.write_bytes(unpack(path.read_bytes(), str(path)))
        yield plain


def decode(data: bytes, encoding: str, name: str) -> str:
    """`data`, unpacked, as text without a byte-order mark; `DataError` that names the right encoding or format."""
    data = unpack(data, name)
    what = other_format(data)
    if what is not None:
        raise DataError(f"{name!r} is {what}")
    if not _wide(encoding):
        _check_narrow(data, encoding, name)
    try:
        return data.decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name!r} is not {error.encoding}: byte 0x{data[error.start]:02x} in line {line}. "
            "Name its encoding, for example --encoding latin-1 or --encoding cp1252."
        ) from None


def other_format(data: bytes) -> str | None:
    """What a file is that begins with `data`, and what to do, where that is no text; None for all else."""
    return next((what for start, what in OTHER.items() if data.startswith(start)), None)


def _wide(encoding: str) -> bool:
    """Whether it is UTF-16 or UTF-32; `DataError` for what is no encoding of files."""
    try:
        known = codecs.lookup(encoding)
    except (LookupError, ValueError, TypeError):
        known = None
    # Python's codecs are also those of bytes ("hex"), of names in the net, and of string literals.
    if known is None or not getattr(known, "_is_text_encoding", True) or known.name in NO_ENCODINGS:
        raise DataError(f"Unknown encoding {encoding!r}. Common ones: utf-8, utf-16, latin-1, cp1252.")
    return known.name.startswith(("utf-16", "utf-32"))


def _check_narrow(data: bytes, encoding: str, name: str) -> None:
    """`DataError` for UTF-16 and UTF-32, with a mark or known by the zeros of its ASCII, and for bytes of no text."""
    mark = next((known for start, known in MARKS.items() if data.startswith(start)), None)
    head = data[:4096]
    if mark is None and b"\0" in head:
        zeros = [head[i::2].count(0) * 8 > len(head) for i in (0, 1)]  # a quarter of each half
        if zeros[0] == zeros[1]:
            raise DataError(f"{name!r} holds zero bytes: it is not text, or damaged. Export it as UTF-8.")
        mark = "utf-16-be" if zeros[0] else "utf-16-le"
    if mark is not None:
        raise DataError(f"{name!r} is {mark.upper()}, not {encoding}. Read it with --encoding {mark}.")
