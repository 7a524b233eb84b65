"""A file -> `Table`. CSV and TSV cells stay strings: "NA", "null" and "None" are texts, only an empty cell
is missing."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from unspool.errors import DataError, check_choice

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True)
class Table:
    """Columns of a file.

    frame: the columns, R rows. rows (R,): each row's number in the file, counted from 1, header left out.
    name: the file's name, for messages.
    """

    frame: pl.DataFrame
    rows: np.ndarray
    name: str

    def __len__(self) -> int:
        return self.frame.height

    def take(self, keep: np.ndarray) -> Table:
        """The rows chosen by an index array or a boolean mask (R,), in that order; numbers kept."""
        index = np.flatnonzero(keep) if keep.dtype == bool else keep
        return Table(self.frame[index.tolist()], self.rows[index], self.name)


def file_format(path: Path, format: str | None = None) -> str:
    """One of csv, tsv, jsonl, parquet: `format` if given, else by the extension; `DataError` if unknown."""
    if format is not None:
        return check_choice("the table reader", "format", format, sorted(set(FORMATS.values())))
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise DataError(
            f"Cannot tell the format of {str(path)!r} from its extension {path.suffix!r}. "
            f"Known: {', '.join(FORMATS)}. Name it with --format csv, tsv, jsonl or parquet."
        )
    return known


def read_table(
    path: str | Path,
    *,
    format: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    quotes: bool = True,
) -> Table:
    """Read a CSV, TSV, JSON-lines or Parquet file.

    format: "csv", "tsv", "jsonl" or "parquet"; default by the extension. encoding: of CSV, TSV and JSON
    lines; a UTF-8 byte-order mark is dropped. delimiter: of CSV (default ",") and TSV (default tab).
    quotes: False takes quote characters as text. Raises `DataError` for a missing, unreadable, malformed
    or half-written file, repeated column names, and a table without rows.
    """
    path = Path(path)
    kind = file_format(path, format)
    if not path.is_file():
        raise DataError(f"No file {str(path)!r}.")
    if kind == "parquet":
        frame = _read_parquet(path)
    else:
        text = _decode(path, encoding)
        if kind == "jsonl":
            frame = _read_json_lines(text, path)
        else:
            frame = _read_delimited(text, path, delimiter or ("," if kind == "csv" else "\t"), quotes)
    if frame.height == 0:
        raise DataError(f"{str(path)!r} has no rows{' below its header' if frame.width else ''}.")
    return Table(frame, np.arange(1, frame.height + 1), path.name)


def _decode(path: Path, encoding: str) -> str:
    data = path.read_bytes()
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{str(path)!r} is UTF-16, not UTF-8. Read it with --encoding utf-16.")
    try:
        return data.decode(encoding)
    except LookupError:
        raise DataError(
            f"Unknown encoding {encoding!r}. Common ones: utf-8, utf-16, latin-1, cp1252."
        ) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{str(path)!r} is not {error.encoding.removesuffix('-sig')}: byte 0x{data[error.start]:02x} in "
            f"line {line}. Name its encoding, for example --encoding latin-1 or --encoding cp1252."
        ) from None


def _read_delimited(text: str, path: Path, delimiter: str, quotes: bool) -> pl.DataFrame:
    # The csv module, not polars: polars refuses a quote inside an unquoted cell (5" disk) and names no line.
    if len(delimiter) != 1:
        raise DataError(f"The delimiter must be one character. Got {delimiter!r}.")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    previous_limit = csv.field_size_limit(sys.maxsize)
    rows: list[list[str]] = []
    try:
        header = next((row for row in reader if row), [])
        if not header:
            raise DataError(f"{str(path)!r} is empty.")
        _check_names(header, path)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{str(path)!r}, line {reader.line_num}: {len(row)} cells where the header has "
                    f"{len(header)}. Is the file half-written, or a text with {delimiter!r} not quoted?"
                )
            rows.append(row)
    except csv.Error as error:
        reason = "a quote is never closed" if "end of data" in str(error) else str(error)
        raise DataError(
            f"{str(path)!r}, line {reader.line_num}: {reason}. The file may be half-written; if its quote "
            "characters are plain text, read it with --no-quotes."
        ) from None
    finally:
        csv.field_size_limit(previous_limit)
    columns = zip(*rows, strict=True) if rows else ((),) * len(header)
    return pl.DataFrame(
        {
            name: pl.Series(name, [cell or None for cell in column], dtype=pl.String)
            for name, column in zip(header, columns, strict=True)
        }
    )


def _check_names(header: list[str], path: Path) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{str(path)!r} has more than one column named {repeated[0]!r}. Rename one of them.")


def _read_json_lines(text: str, path: Path) -> pl.DataFrame:
    if not text.strip():
        raise DataError(f"{str(path)!r} is empty.")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{str(path)!r}, line {number} is not JSON: {error.msg}. The file may be half-written."
            ) from None
        if not isinstance(record, dict):
            raise DataError(
                f"{str(path)!r}, line {number}: expected one JSON object a line, got {line[:40]!r}."
            )
    try:
        frame = pl.read_ndjson(io.StringIO(text), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"Cannot read {str(path)!r} as JSON lines: {str(error).splitlines()[0]}") from None
    blank = pl.col(pl.String) == ""
    return frame.with_columns(pl.when(blank).then(None).otherwise(pl.col(pl.String)).name.keep())


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {reason}. It may be half-written.") from None
    categories = [name for name, dtype in frame.schema.items() if dtype in (pl.Categorical, pl.Enum)]
    frame = frame.with_columns(pl.col(categories).cast(pl.String))
    blank = pl.col(pl.String) == ""
    return frame.with_columns(pl.when(blank).then(None).otherwise(pl.col(pl.String)).name.keep())
