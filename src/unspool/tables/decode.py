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
OTHER = {
    b"PAR1": "a Parquet file. Read it with --format parquet (format='parquet').",
    b"PK\x03\x04": "a zip archive. If it is an Excel sheet, read it with --format xlsx (format='xlsx'); otherwise "
    "unpack it first.",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file. Save it as .xlsx or .csv.",
    b"\x28\xb5\x2f\xfd": "compressed by zstd. Unpack it first, or use gzip.",
    b"SQLite format 3": "an SQLite database. Export the table as .csv.",
    b"%PDF": "a PDF file, not a table.",
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
    for start, what in OTHER.items():
        if data.startswith(start):
            raise DataError(f"{name!r} is {what}")
    try:
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    except LookupError:
        raise DataError(
            f"Unknown encoding {encoding!r}. Common ones: utf-8, utf-16, latin-1, cp1252."
        ) from None
    if not wide:
        _check_narrow(data, encoding, name)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name!r} is not {error.encoding}: byte 0x{data[error.start]:02x} in line {line}. "
            "Name its encoding, for example --encoding latin-1 or --encoding cp1252."
        ) from None


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
