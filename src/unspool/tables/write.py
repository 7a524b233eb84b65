"""Columns -> a CSV, TSV, JSON-lines, JSON or Parquet file, written beside and then renamed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from unspool.errors import DataError
from unspool.files import replacing
from unspool.tables.read import file_format


def write_table(frame: pl.DataFrame, path: str | Path, *, format: str | None = None) -> None:
    """Write `frame` to `path`, whole or not at all; an existing file is replaced, a missing folder made.

    format: "csv", "tsv", "jsonl", "json" or "parquet"; default by the extension, and compressed after ".gz", ".bz2" or
    ".xz". NaN and infinity are null in JSON, which has no word for them. Raises `DataError` for an unknown extension
    and for columns that the format cannot hold, `OSError` where the disk is full or the folder cannot be written.
    """
    path = Path(path).expanduser()
    kind = check_writable(frame, path, format)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, _packed(file, path) as out:
        _write(frame, out, kind)


def write_pieces(frames: Iterable[pl.DataFrame], path: str | Path, *, format: str | None = None) -> None:
    """As `write_table` of all frames, one below the other; one at a time is in memory.

    All have the columns of the first.
    """
    path = Path(path).expanduser()
    kind = file_format(path, format, written=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, _packed(file, path) as out:
        if kind == "parquet":
            _parquet(frames, path, out)
            return
        for number, frame in enumerate(frames):
            check_writable(frame, path, format)
            if kind == "json":
                out.write((b"," if number else b"[") + frame.write_json().encode()[1:-1])
            else:
                _write(frame, out, kind, header=number == 0)
        if kind == "json":
            out.write(b"]")


@contextmanager
def _packed(file: Any, path: Path) -> Iterator[Any]:
    """What compresses into `file` as the extension of `path` says."""
    packers: dict[str, Any] = {
        ".gz": lambda: gzip.GzipFile("", "wb", fileobj=file, mtime=0),
        ".bz2": lambda: bz2.BZ2File(file, "wb"),
        ".xz": lambda: lzma.LZMAFile(file, "wb"),  # noqa: SIM115
    }
    pack = packers.get(path.suffix.lower())
    if pack is None:
        yield file
    else:
        with pack() as packed:
            yield packed


def _parquet(frames: Iterable[pl.DataFrame], path: Path, out: Any) -> None:
    """By way of a file a piece, since polars writes one file from one query."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name[:100]}.", dir=path.parent) as folder:
        parts = []
        for number, frame in enumerate(frames):
            check_writable(frame, path, "parquet")
            parts.append(Path(folder, f"{number:08d}.parquet"))
            frame.write_parquet(parts[-1])
        pl.scan_parquet(parts).sink_parquet(out)


def check_writable(frame: pl.DataFrame, path: Path | None, format: str | None = None) -> str:
    """The format of `path` (of stdout, None: csv), which holds every column of `frame`; otherwise `DataError`."""
    kind = "csv" if path is None else file_format(path, format, written=True)
    if kind == "xlsx":
        raise DataError(f"{str(path)!r}: Excel sheets are read, not written. Write .csv instead.")
    for name, dtype in frame.schema.items():
        nested, held = dtype.is_nested(), True
        if kind in ("csv", "tsv"):
            held = not nested and dtype not in (pl.Binary, pl.Duration, pl.Object)
        elif kind in ("jsonl", "json"):
            held = "Binary" not in str(dtype) and dtype != pl.Object
        if not held:
            other = ".jsonl or .parquet" if nested and "Binary" not in str(dtype) else ".parquet"
            raise DataError(
                f"Column {name!r} holds {dtype} values, which a {kind} file cannot. Write {other} with --out, or leave "
                "the column out with --columns."
            )
    return kind


def _write(frame: pl.DataFrame, file: Any, kind: str, header: bool = True) -> None:
    if kind == "parquet":
        frame.write_parquet(file)
    elif kind == "jsonl":
        frame.write_ndjson(file)
    elif kind == "json":
        frame.write_json(file)
    else:
        frame.write_csv(file, separator="," if kind == "csv" else "\t", include_header=header)
