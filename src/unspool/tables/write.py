"""Columns -> a CSV, TSV, JSON-lines or Parquet file, written beside and then renamed."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from unspool.files import replacing
from unspool.tables.read import file_format


def write_table(frame: pl.DataFrame, path: str | Path, *, format: str | None = None) -> None:
    """Write `frame` to `path`, whole or not at all; an existing file is replaced.

    format: "csv", "tsv", "jsonl" or "parquet"; default by the extension. Raises `DataError` for an unknown
    extension, `OSError` where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    kind = file_format(path, format)
    with replacing(path) as file:
        if kind == "parquet":
            frame.write_parquet(file)
        elif kind == "jsonl":
            frame.write_ndjson(file)
        else:
            frame.write_csv(file, separator="," if kind == "csv" else "\t")
