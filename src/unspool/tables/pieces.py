"""A table in pieces, for files larger than memory: Parquet, JSON lines, CSV and TSV."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from unspool.errors import DataError
from unspool.tables.apart import parquet_frames
from unspool.tables.columns import require_columns
from unspool.tables.decode import unpacked
from unspool.tables.delimited import delimiter_of, mark_of, unique_names
from unspool.tables.numbers import Style
from unspool.tables.read import (
    Table,
    blanks_missing,
    categories,
    check_file,
    file_format,
    json_columns,
    parse_json,
)

ROWS = 20_000
TOGETHER = 512  # rows that are lists at a time
LONGEST = 2**26  # characters of a line, and of a cell
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def read_pieces(
    path: str | Path,
    columns: Sequence[str] | None,
    *,
    rows: int = ROWS,
    format: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    quotes: bool = True,
    header: bool = True,
    decimal: str = ".",
    thousands: str | None = None,
) -> Iterator[Table]:
    """Tables of `rows` rows each, with `columns` alone (None: all), their rows numbered through the file.

    Never more than a few pieces are in memory. Options as of `read_table`; `DataError` as there, for a JSON array and
    for Excel, and, without `columns`, for JSON lines with names that the first piece has not.
    """
    path = Path(path).expanduser()
    kind, style = file_format(path, format), Style(decimal, thousands)
    check_file(path)
    if kind == "parquet":
        frames = _parquet(path, columns, rows)
    elif kind == "jsonl":
        frames = _json_lines(path, columns, rows, encoding)
    elif kind in ("csv", "tsv"):
        frames = _delimited(path, columns, rows, encoding, mark_of(kind, delimiter), quotes, header)
    else:
        raise DataError(
            f"{str(path)!r} is read as a whole: a .{kind} file has no pieces. Save it as Parquet, JSON lines or "
            "CSV."
        )
    seen = 0
    try:
        for frame, orders in frames:
            if frame.height:
                numbers = np.arange(seen + 1, seen + frame.height + 1)
                yield Table(frame, numbers, path.name, style, frozenset(), orders)
                seen += frame.height
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is not {error.encoding}, after row {seen}. Name its encoding, for example --encoding "
            "latin-1 or --encoding cp1252."
        ) from None
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(
            f"{str(path)!r} cannot be unpacked, after row {seen}: {error}. It may be half-written."
        ) from None
    if not seen:
        raise DataError(f"{str(path)!r} has no rows.")


Pieces = Iterator[tuple[pl.DataFrame, dict[str, list[str]]]]


def _parquet(path: Path, columns: Sequence[str] | None, rows: int) -> Pieces:
    with (
        unpacked(path) as plain,
        closing(parquet_frames(plain, columns, rows, str(path))) as found,
    ):
        for frame in found:
            if isinstance(frame, list):
                _require(path, frame, frame if columns is None else columns)
            else:
                yield blanks_missing(frame), categories(frame)


def _json_lines(path: Path, columns: Sequence[str] | None, rows: int, encoding: str) -> Pieces:
    known: list[str] | None = None
    with _opened(path, encoding) as file:
        numbered = ((n, line) for n, line in enumerate(_lines(file, path), 1) if line.strip())
        while piece := list(islice(numbered, rows)):
            records = []
            for n, line in piece:
                record = parse_json(line, f"{str(path)!r}, line {n}")
                if not isinstance(record, dict):
                    raise DataError(
                        f"{str(path)!r}, line {n}: expected one JSON object a line, got {line[:40]!r}."
                    )
                records.append(record)
            names = list(dict.fromkeys(name for record in records for name in record))
            if known is None:
                known = names if columns is None else list(columns)
                _require(path, names, known)
            late = next((name for name in names if name not in known), None)
            if columns is None and late is not None:
                raise DataError(
                    f"{str(path)!r} has a column {late!r} that its first {rows} rows lack. Name the columns to be kept "
                    "(--columns), or save the table as Parquet."
                )
            yield json_columns(records, known, path), {}


def _delimited(
    path: Path,
    columns: Sequence[str] | None,
    rows: int,
    encoding: str,
    mark: str | None,
    quotes: bool,
    header: bool,
) -> Pieces:
    limit = csv.field_size_limit(LONGEST)
    try:
        with _opened(path, encoding) as file:
            first_line = file.readline(LONGEST)
            delimiter, said = delimiter_of(first_line, mark)
            if not said:
                file.seek(0)
            quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
            reader = csv.reader(_lines(file, path), delimiter=delimiter, quoting=quoting, strict=True)
            cells: Iterator[list[str]] = filter(None, reader)
            first = next(cells, None)
            if first is None:
                raise DataError(f"{str(path)!r} is empty.")
            names, repeated = unique_names(first if header else [None] * len(first))
            wanted = () if columns is None else columns
            _require(path, names, wanted)
            for name in wanted:
                if name in repeated:
                    raise DataError(
                        f"{path.name} has more than one column named {name!r}. Rename one of them."
                    )
            columns = names if columns is None else columns
            places = [names.index(name) for name in columns]
            if not header:
                cells = chain([first], cells)
            while True:
                read, found, odd = _columns(cells, len(first), places, rows)
                if odd is not None:
                    raise DataError(
                        f"{str(path)!r}, at line {reader.line_num} or before: {len(odd)} cells where the "
                        f"{'header' if header else 'first row'} has {len(first)}. Is the file half-written, or a text "
                        f"with {delimiter!r} not quoted?"
                    )
                if not read:
                    break
                yield pl.DataFrame(dict(zip(columns, found, strict=True))), {}
    except csv.Error as error:
        raise DataError(
            f"{str(path)!r}, line {reader.line_num}: {error}. The file may be half-written; if its quote characters "
            "are plain text, read it with --no-quotes."
        ) from None
    finally:
        csv.field_size_limit(limit)


def _columns(
    cells: Iterator[list[str]], width: int, places: Sequence[int], rows: int
) -> tuple[int, list[pl.Series], list[str] | None]:
    """(rows read, up to `rows`; their cells in the columns at `places`, null where they are empty; the first row that
    has another width, where reading ends).

    Few rows at a time are Python's: of many, its garbage collection takes as long as their reading, and their texts
    as much memory again as the columns.
    """
    parts: list[list[pl.Series]] = [[] for _ in places]
    read = 0
    while block := list(islice(cells, min(rows - read, TOGETHER))):
        odd = next((row for row in block if len(row) != width), None)
        if odd is not None:
            return read, [], odd
        read += len(block)
        columns = [*zip(*block)]
        for part, place in zip(parts, places):
            part.append(pl.Series([cell or None for cell in columns[place]], dtype=pl.String))
    return read, [pl.concat(part) for part in parts] if read else [], None


def _lines(file: IO[str], path: Path) -> Iterator[str]:
    """The lines of a text; `DataError` for one so long that it is none: what a small packed file unpacks to."""
    while line := file.readline(LONGEST):
        if len(line) == LONGEST:
            raise DataError(f"{str(path)!r} has a line of more than {LONGEST:,} characters. Is it a table?")
        yield line


def _opened(path: Path, encoding: str) -> IO[str]:
    """Text, unpacked by the extension, without a byte-order mark, line ends as they are."""
    opener = OPENERS.get(path.suffix.lower(), open)
    plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    try:
        return opener(path, "rt", encoding="utf-8-sig" if plain else encoding, newline="")
    except LookupError:
        raise DataError(
            f"Unknown encoding {encoding!r}. Common ones: utf-8, utf-16, latin-1, cp1252."
        ) from None


def _require(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    frame = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    require_columns(Table(frame, np.arange(0), path.name), columns)
