"""A file -> `Table`. CSV and TSV cells stay strings: "NA", "null" and "None" are texts, only an empty cell
is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError, check_choice, described, did_you_mean
from unspool.tables.apart import excel_frames, parquet_frames
from unspool.tables.decode import COMPRESSED, decode, other_format, unpacked
from unspool.tables.delimited import mark_of, read_delimited, unique_names
from unspool.tables.numbers import Style

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
}
NAMES = ("csv", "tsv", "jsonl", "json", "parquet", "xlsx")


@dataclass(frozen=True)
class Table:
    """Columns of a file.

    frame: the columns, R rows. rows (R,): each row's number in the file, counted from 1, header left out.
    name: the file's name, for messages. style: how its cells write numbers. repeated: the names that more than one of
    its columns had; the later ones are called "name_2", "name_3", ..., and columns without a name "column_1", ...
    orders: name -> the categories of a column of ordered ones (an Enum of Parquet), from the lowest to the highest.
    """

    frame: pl.DataFrame
    rows: np.ndarray
    name: str
    style: Style = field(default_factory=Style)
    repeated: frozenset[str] = frozenset()
    orders: Mapping[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.frame.height

    def some(self, start: int, count: int) -> Table:
        """So many rows from `start`, or as many as there are; nothing is copied."""
        return replace(self, frame=self.frame.slice(start, count), rows=self.rows[start : start + count])

    def take(self, keep: np.ndarray) -> Table:
        """The rows chosen by an index array or a boolean mask (R,), in that order; numbers kept."""
        index = np.flatnonzero(keep) if keep.dtype == bool else keep
        return replace(self, frame=self.frame[index.tolist()], rows=self.rows[index])


def file_format(path: Path, format: str | None = None, written: bool = False) -> str:
    """One of csv, tsv, jsonl, json, parquet, xlsx: `format` if given, else by the extension, that of a compressed
    file (".csv.gz") by the one before; `DataError` if unknown, which of a file to be read says what it is. written: it
    is one to be written."""
    if format is not None:
        return check_choice("the table reader", "format", format, NAMES)
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    known = FORMATS.get(inner.suffix.lower())
    if known is None:
        if not written:
            _name_other(path)
        raise DataError(
            f"Cannot tell the format of {str(path)!r} from its extension {inner.suffix!r}. "
            f"Known: {', '.join(FORMATS)}, also with {', '.join(COMPRESSED)}. Name it with --format csv, tsv, jsonl, "
            "json, parquet or xlsx."
        )
    return known


def _name_other(path: Path) -> None:
    """`DataError` for what is no file, and for a file whose first bytes say that it is no table."""
    name = str(path)
    if name == "-":
        raise DataError("A table is read from a file. Got '-': write what comes by a pipe to a file first.")
    if re.match(r"\w+:/", name):
        raise DataError(f"{name!r} is an address. Download the file first, and give its path.")
    if path.is_dir():
        raise DataError(f"{name!r} is a folder. Give the path of one table.")
    if path.is_file():
        with open(path, "rb") as file:
            what = other_format(file.read(64))
        if what is not None:
            raise DataError(f"{name!r} is {what}")


def check_file(path: Path) -> None:
    """`DataError` unless a file is there to read; it says what else is."""
    if path.is_file():
        return
    _name_other(path)
    if path.exists():
        raise DataError(f"{str(path)!r} is a pipe or a device. Write what it gives to a file first.")
    raise DataError(f"No file {str(path)!r}.")


def read_table(
    path: str | Path,
    *,
    format: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    quotes: bool = True,
    header: bool = True,
    decimal: str = ".",
    thousands: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Read a CSV, TSV, JSON-lines, JSON, Parquet or Excel file; gzip, bzip2 and xz are unpacked.

    format: "csv", "tsv", "jsonl", "json" (an array of objects), "parquet" or "xlsx" (the first sheet; needs
    `pip install fastexcel`); default by the extension. encoding: of CSV, TSV and JSON; a byte-order mark is dropped.
    delimiter: of CSV (default ",", or what a first line "sep=;" says) and TSV (default tab). quotes: False takes quote
    characters as text. header: False where the first line of CSV, TSV or Excel is a row; the columns are then
    "column_1", "column_2", ... decimal, thousands: how cells of numbers are written, such as "," and ".". columns:
    the names of those that are kept; None keeps all. Raises `DataError` for a missing, unreadable, malformed or
    half-written file, an unknown column, and a table without rows.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(f"A table is read from a path. Got {described(path)}: estimators take it as it is.")
    path = Path(path).expanduser()
    kind, style = file_format(path, format), Style(decimal, thousands)
    check_file(path)
    repeated = frozenset[str]()
    orders: dict[str, list[str]] = {}
    if kind == "parquet":
        with unpacked(path) as plain:
            frame = read_parquet(plain, str(path))
        orders = categories(frame)
        frame = blanks_missing(frame)
    elif kind == "xlsx":
        with unpacked(path) as plain:
            frame, repeated = _read_excel(plain, header, str(path))
    else:
        text = decode(path.read_bytes(), encoding, str(path))
        if text[:100].lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
            raise DataError(f"{str(path)!r} is a web page or XML, not a table. Export the table as CSV.")
        if kind in ("jsonl", "json"):
            frame = _read_json(text, path, lines=kind == "jsonl")
        else:
            frame, repeated = read_delimited(text, str(path), mark_of(kind, delimiter), quotes, header)
    if frame.height == 0:
        raise DataError(f"{str(path)!r} has no rows{' below its header' if frame.width else ''}.")
    if columns is not None:
        columns = [columns] if isinstance(columns, str) else columns
        if not columns:
            raise DataError("columns must name one column or more, or be None for all. Got none.")
        for name in columns:
            if name not in frame.columns:
                known = ", ".join(map(repr, frame.columns))
                hint = did_you_mean(name, frame.columns)
                raise DataError(f"{path.name} has no column {name!r}. It has {known}. {hint}".rstrip())
        frame = frame.select(list(dict.fromkeys(columns)))
    return Table(frame, np.arange(1, frame.height + 1), path.name, style, repeated, orders)


def blanks_missing(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories as texts, and empty texts as missing."""
    categories = [name for name, dtype in frame.schema.items() if dtype in (pl.Categorical, pl.Enum)]
    frame = frame.with_columns(pl.col(categories).cast(pl.String))
    blank = pl.col(pl.String) == ""
    return frame.with_columns(pl.when(blank).then(None).otherwise(pl.col(pl.String)).name.keep())


def _read_json(text: str, path: Path, lines: bool) -> pl.DataFrame:
    """JSON lines, or one array, of objects with a value a column; NaN is missing."""
    if not text.strip():
        raise DataError(f"{str(path)!r} is empty.")
    if lines:
        numbered = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        records = [parse_json(line, f"{str(path)!r}, line {n}") for n, line in numbered]
        wrong = next((i for i, record in enumerate(records) if not isinstance(record, dict)), None)
        if wrong is not None:
            n, line = numbered[wrong]
            hint = " For a file that is one array, use --format json." if line.lstrip()[0] == "[" else ""
            raise DataError(
                f"{str(path)!r}, line {n}: expected one JSON object a line, got {line[:40]!r}.{hint}"
            )
    else:
        records = parse_json(text, str(path))
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise DataError(
                f"{str(path)!r} must hold one JSON array of objects, [{{...}}, {{...}}]. Got {text.strip()[:40]!r}. "
                "For an object a line, use --format jsonl."
            )
    if not any(records):
        return pl.DataFrame()
    return json_columns(records, list(dict.fromkeys(name for record in records for name in record)), path)


def json_columns(records: Sequence[dict[str, Any]], names: Sequence[str], path: Path) -> pl.DataFrame:
    """The columns of objects, a value each or none; `DataError` for values that make no column."""
    try:
        return blanks_missing(
            pl.DataFrame([_series(name, [r.get(name) for r in records], path) for name in names])
        )
    except (pl.exceptions.PolarsError, TypeError, OverflowError, UnicodeError) as error:
        raise DataError(f"Cannot read {str(path)!r} as a table: {str(error).splitlines()[0]}") from None


def _series(name: str, values: list, path: Path) -> pl.Series:
    """A column; numbers of which some are whole and too large for a float stay exact, as texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds & {list, dict}:
        return _nested(name, values, kinds, path)
    beyond = kinds == {int} and any(v is not None and not -(2**63) <= v < 2**63 for v in values)
    if beyond or (kinds == {int, float} and any(type(v) is int and abs(v) > 2**53 for v in values)):
        values = [v if v is None else repr(v) for v in values]
    elif len(kinds) > 1 and kinds <= {str, int, float, bool} and (str in kinds or bool in kinds):
        values = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pl.Series(name, values, strict=len(kinds) == 1)


def _nested(name: str, values: list, kinds: set[type], path: Path) -> pl.Series:
    """A column of lists, or of objects with all names that any of them has; `DataError` for anything else beside."""
    what = {str: "texts", list: "lists", dict: "objects", bool: "truths", int: "numbers", float: "numbers"}
    shown = list(dict.fromkeys(what[type(value)] for value in values if value is not None))
    if len(kinds) == 1:
        found = pl.from_dicts([{name: value} for value in values], infer_schema_length=None)[name]
        if _without_none(found.to_list()) == _without_none(values):
            return found
        shown = [f"{shown[0]} of values of several kinds"]
    raise DataError(
        f"Column {name!r} of {path.name} must hold values of one kind. It holds {' and '.join(shown)}. Write them "
        "alike."
    )


def _without_none(value: Any) -> Any:
    """Objects without the names that hold nothing, however deep."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list) else value


def parse_json(text: str, where: str) -> Any:
    """The JSON value of a text; `DataError` that begins with `where` for anything else."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = " For an object a line, use --format jsonl." if error.msg == "Extra data" else ""
        place = f" (line {error.lineno})" if error.lineno > 1 else ""
        raise DataError(
            f"{where} is not JSON: {error.msg}{place}. The file may be half-written.{hint}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON that can be read: {str(error).split(';')[0]}.") from None


def read_parquet(path: Path, name: str | None = None) -> pl.DataFrame:
    """All columns; `DataError` as of `parquet_frames`."""
    frames = [found for found in parquet_frames(path, name=name) if isinstance(found, pl.DataFrame)]
    return pl.concat(frames)


def categories(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Of the columns that have an order, from the lowest to the highest."""
    kinds = {name: kind for name, kind in frame.schema.items() if isinstance(kind, pl.Enum)}
    return {name: kind.categories.to_list() for name, kind in kinds.items()}


def _read_excel(path: Path, header: bool, name: str) -> tuple[pl.DataFrame, frozenset[str]]:
    """The first sheet; (columns, the names that came twice)."""
    if importlib.util.find_spec("fastexcel") is None:
        raise DataError(
            f"Reading {name!r} needs the package fastexcel: pip install fastexcel. Or save the sheet as .csv."
        )
    rows, first = excel_frames(path, header, name)
    top: list[str | None] = [None] * rows.width
    if header:
        top = [*first.row(0), *top][: rows.width] if first.height else top
    names, repeated = unique_names(top)
    return blanks_missing(rows.rename(dict(zip(rows.columns, names, strict=True)))), repeated
