"""`unspool predict`: a saved model on texts from the command line, from stdin or from a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unspool.cli.options import (
    Debug,
    Delimiter,
    DropMissing,
    Encoding,
    Format,
    Model,
    Quotes,
    Reading,
    Weights,
    load_model,
)
from unspool.errors import DataError


def predict(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, or with --input one table. Without any: lines of stdin.", show_default=False
        ),
    ] = None,
    input: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of texts of a table.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the table with its predictions here (.csv, .tsv, .jsonl, .parquet)."),
    ] = None,
    format: Format = None,
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    quotes: Quotes = True,
    drop_missing: DropMissing = False,
    weights: Weights = "float32",
    debug: Debug = False,
) -> None:
    """Predict with a saved model.

    Texts given here or on stdin: one line each, the prediction (for classes: the label and its probability)
    and the text, separated by tabs. A table: its columns and the predictions, to --out or as CSV to stdout.

    unspool predict model "what a day"

    unspool predict model reviews.csv --input text --out predictions.csv
    """
    if input is not None:
        if not texts or len(texts) != 1:
            raise DataError(f"--input {input} needs one table to read. Got {len(texts or [])} arguments.")
        _predict_table(
            model,
            weights,
            Path(texts[0]),
            input,
            out,
            Reading(format, encoding, delimiter, quotes),
            drop_missing,
        )
        return
    if out is not None:
        raise DataError("--out writes a table with its predictions: name its text column with --input.")
    if texts and len(texts) == 1 and _is_table(texts[0]):
        raise DataError(f"{texts[0]!r} is a table: name its column of texts with --input.")
    _predict_lines(model, weights, texts or _stdin_lines())


def _is_table(text: str) -> bool:
    if "\n" in text or len(text) > 1000:
        return False
    from unspool.tables import FORMATS

    path = Path(text)
    return path.suffix.lower() in FORMATS and path.is_file()


def _stdin_lines() -> list[str]:
    if sys.stdin.isatty():
        raise DataError("Nothing to predict: give texts, a table with --input, or lines on stdin.")
    lines = [line.rstrip("\r\n") for line in sys.stdin]
    if not lines:
        raise DataError("Nothing to predict: stdin is empty.")
    return lines


def _predict_lines(path: Path, weights: str, texts: list[str]) -> None:
    import numpy as np

    columns = load_model(path, weights).columns(texts)
    predicted = [column for name, column in columns.items() if name.startswith("prediction")]
    probabilities = [column for name, column in columns.items() if name.startswith("probability_")]
    shown = [*predicted, *([np.max(probabilities, 0)] if probabilities else [])]
    for number, text in enumerate(texts):
        typer.echo("\t".join([*(_cell(column[number]) for column in shown), " ".join(text.split())]))


def _predict_table(
    path: Path,
    weights: str,
    table_path: Path,
    input: str,
    out: Path | None,
    reading: Reading,
    drop_missing: bool,
) -> None:
    import polars as pl

    from unspool.tables import require_columns, text_column, without_missing, write_table
    from unspool.tables.read import file_format

    if out is not None:
        file_format(out)
        if out.exists() and out.samefile(table_path):
            raise DataError(f"--out {str(out)!r} is the table that is read. Choose another file.")
    table = reading.read(table_path)
    require_columns(table, [input])
    table, dropped = without_missing(table, input, [], "classification", drop=drop_missing)
    texts = text_column(table, input)
    model = load_model(path, weights)
    columns = model.columns(texts)
    taken = [name for name in columns if name in table.frame.columns]
    if taken:
        raise DataError(f"{table.name} has a column {taken[0]!r} already. Rename it.")
    frame = table.frame.with_columns(pl.Series(name, values) for name, values in columns.items())
    if out is None:
        typer.echo(frame.write_csv(), nl=False)
    else:
        write_table(frame, out)
        tail = f" {dropped} rows without a text dropped." if dropped else ""
        typer.echo(f"{len(texts)} predictions: {out}.{tail}")


def _cell(value: Any) -> str:
    return f"{value:.4f}" if hasattr(value, "dtype") and value.dtype.kind == "f" else str(value)
