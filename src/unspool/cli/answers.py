"""`unspool predict` of a table: its rows, and behind them what the model says of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import typer

from unspool.cli.data import Beside, take
from unspool.cli.options import Reading, load_model
from unspool.errors import DataError
from unspool.files import check_place
from unspool.tables import (
    Table,
    check_writable,
    file_format,
    require_columns,
    text_column,
    without_missing,
    write_pieces,
    write_table,
)

LARGE = 4 * 2**20  # bytes of a file that is read, answered and written piece by piece


@dataclass
class Answers:
    """Tables with the model's answers to their rows, and what to say of them.

    rows: that have an answer; empty: that have no text, and none; warned: what the model warned of.
    """

    model: Any
    input: str
    level: int | None
    rows: int = 0
    empty: int = 0
    schema: dict[str, Any] | None = None
    warned: list[str] = field(default_factory=list)

    @property
    def beside(self) -> Beside:
        """The columns that the model reads beside the texts."""
        return Beside.of(self.model)

    def frame(self, table: Table) -> pl.DataFrame:
        """The table and the answers, null where a row has no text; `DataError` for a name that is taken."""
        require_columns(table, [self.input, *self.beside.names])
        everything = self.beside.part(table, self.input, np.zeros(len(table)))
        rows = [row for row, text in enumerate(everything.texts) if text is not None]
        answers = pl.DataFrame(schema=self.schema)
        if rows:
            if self.schema is None:
                self._check(table, take(everything, np.array(rows[:1])).inputs)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                answers = pl.DataFrame(
                    self.model.columns(take(everything, np.array(rows)).inputs, level=self.level)
                )
            self.warned += [str(warning.message) for warning in caught]
            self.schema = dict(answers.schema)
        elif self.schema is None:
            raise DataError(
                f"{table.name} has no text in its first {len(table)} rows. Is {self.input!r} the column?"
            )
        self.rows, self.empty = self.rows + len(rows), self.empty + len(table) - len(rows)
        numbered = answers.with_columns(pl.Series("", rows, dtype=pl.UInt32))
        index = pl.DataFrame({"": pl.Series(range(len(table)), dtype=pl.UInt32)})
        columns = index.join(numbered, on="", how="left", maintain_order="left").drop("")
        return pl.concat([table.frame, columns], how="horizontal")

    def frames(self, tables: Iterable[Table]) -> Iterator[pl.DataFrame]:
        """`frame` of each."""
        return map(self.frame, tables)

    def _check(self, table: Table, first: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            names = [*self.model.columns(first, level=self.level)]
        taken = [name for name in names if name in table.frame.columns]
        if taken:
            raise DataError(f"{table.name} has a column {taken[0]!r} already. Rename it.")


def predict_table(
    path: Path,
    weights: str,
    table_path: Path,
    input: str,
    out: Path | None,
    reading: Reading,
    level: int | None,
) -> None:
    """A large table piece by piece, any other as a whole, with its answers to `out` or as CSV to stdout."""
    if out is not None:
        out = out.expanduser()
        file_format(out)
        if out.exists() and table_path.exists() and out.samefile(table_path):
            raise DataError(f"--out {str(out)!r} is the table that is read. Choose another file.")
    if _in_pieces(table_path.expanduser(), out, reading):
        _predict_pieces(path, weights, table_path, input, out, reading, level)
        return
    table = reading.read(table_path, [input])
    require_columns(table, [input])
    texts, dropped = text_column(table, input), 0
    drop = reading.drop_missing or not any(text is not None for text in texts)
    if drop:
        table, dropped = without_missing(table, input, [], "classification", drop=True)
    # All that can fail for another reason than the model fails before it is asked.
    check_writable(table.frame, out)
    if out is not None:
        check_place(out)
    answers = Answers(load_model(path, weights), input, level)
    if answers.beside.names and reading.columns is not None:
        table = reading.read(table_path, [input, *answers.beside.names])
        table = without_missing(table, input, [], "classification", drop=True)[0] if drop else table
    frame = answers.frame(table)
    if out is None:
        typer.echo(frame.write_csv(), nl=False)
    else:
        write_table(frame, out)
    _tell(answers, out, dropped)


def _in_pieces(table: Path, out: Path | None, reading: Reading) -> bool:
    """Whether the table is large, and has pieces, as what is written has."""
    if not table.is_file() or table.stat().st_size < LARGE:
        return False
    whole = ("json", "xlsx")
    return file_format(table, reading.format) not in whole and (out is None or file_format(out) not in whole)


def _predict_pieces(
    path: Path,
    weights: str,
    table_path: Path,
    input: str,
    out: Path | None,
    reading: Reading,
    level: int | None,
) -> None:
    if out is not None:
        check_place(out)
    answers = Answers(load_model(path, weights), input, level)
    seen = dropped = 0

    def tables() -> Iterator[Any]:
        nonlocal seen, dropped
        for table in reading.pieces(table_path, [input, *answers.beside.names]):
            if not seen:
                check_writable(table.frame, out)
            seen += len(table)
            if reading.drop_missing and table.frame[input].null_count() < len(table):
                table, missing = without_missing(table, input, [], "classification", drop=True)
                dropped += missing
            elif reading.drop_missing:
                dropped += len(table)
                continue
            yield table
            typer.echo(f"\r{seen:,} rows", nl=False, err=True)

    frames = answers.frames(tables())
    if out is None:
        for number, frame in enumerate(frames):
            typer.echo(frame.write_csv(include_header=number == 0), nl=False)
    else:
        write_pieces(frames, out)
    typer.echo(err=True)
    _tell(answers, out, dropped)


def _tell(answers: Any, out: Path | None, dropped: int) -> None:
    """What was answered, and what could not be."""
    for text in dict.fromkeys(answers.warned[:3]):
        typer.echo(f"warning: {text}", err=True)
    if len(answers.warned) > 3:
        typer.echo(f"warning: the like of {len(answers.warned) - 3} further pieces of the table.", err=True)
    if answers.empty:
        typer.echo(f"warning: {answers.empty} rows have no text, and get no prediction.", err=True)
    if out is not None:
        tail = f" {dropped} rows without a text dropped." if dropped else ""
        typer.echo(f"{answers.rows} predictions: {out}.{tail}")
