"""`unspool predict` of a table: its rows, and behind them what the model says of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import typer

from unspool.cli.data import Beside, Part, take
from unspool.cli.options import Reading, load_model
from unspool.cli.threads import HEARD, heard, in_order
from unspool.errors import DataError, EngineError
from unspool.files import check_place
from unspool.tables import (
    Table,
    check_writable,
    file_format,
    require_columns,
    without_missing,
    write_pieces,
)
from unspool.training.device import choose

LARGE = 4 * 2**20  # bytes of a file that is read, answered and written piece by piece
# That answer pieces: a quarter of the work of one, reading and splitting, is one thread's at a time.
MOST_THREADS = 4
# Rows of a piece that are answered together: their texts as Python's strings, words and numbers take 0.6 KB a row.
TOGETHER = 5_000


@dataclass(frozen=True)
class Answered:
    """A table with the model's answers, what the model warned of, and how many rows have an answer, and no text."""

    frame: pl.DataFrame
    rows: int
    empty: int
    warned: list[str]


@dataclass
class Answers:
    """Tables with the model's answers to their rows, and what to say of them.

    rows: that have an answer; empty: that have no text, or lack what the model needs, and no answer; warned: what the
    model warned of. schema: of the answers' columns, known from the first part on. together: rows that are answered at
    a time, with the same numbers; None: all of a table.
    """

    model: Any
    input: str
    level: int | None = None
    rows: int = 0
    empty: int = 0
    schema: dict[str, Any] | None = None
    warned: list[str] = field(default_factory=list)
    together: int | None = None

    @property
    def beside(self) -> Beside:
        """The columns that the model reads beside the texts."""
        return Beside.of(self.model)

    def frame(self, table: Table) -> pl.DataFrame:
        """The table and the answers, null where a row has no text; `DataError` for a name that is taken."""
        with heard():
            return self.add(self.part(table))

    def frames(self, tables: Iterable[Table], threads: int) -> Iterator[pl.DataFrame]:
        """Of each table, in order; after the first, `threads` are answered at a time. Within `heard`."""
        tables = iter(tables)
        first = next(tables)  # what all share is made ready by one
        yield self.add(self.part(first))
        yield from map(self.add, in_order(self.part, tables, threads))

    def add(self, part: Answered) -> pl.DataFrame:
        """Count the part; its frame."""
        self.rows, self.empty = self.rows + part.rows, self.empty + part.empty
        self.warned += part.warned
        return part.frame

    def part(self, table: Table) -> Answered:
        """As `frame`, not yet counted; within `heard`."""
        if self.schema is None:
            self.schema = self._asked_of_one(table)
        size = self.together or len(table)
        found = [self._answers(table.some(start, size)) for start in range(0, len(table), size)]
        answers = pl.concat([frame for frame, _ in found], rechunk=True)
        frame = pl.concat([table.frame, answers], how="horizontal")
        rows = sum(rows for _, rows in found)
        return Answered(frame, rows, len(table) - rows, HEARD.taken(rows))

    def _answers(self, table: Table) -> tuple[pl.DataFrame, int]:
        """(a row for each of the table's, null where there is no answer; how many there are)."""
        everything = self.read(table)
        rows = self.complete(everything)
        answers = pl.DataFrame(schema=self.schema)
        if len(rows):
            answers = pl.DataFrame(self.model.columns(take(everything, rows).inputs, level=self.level))
        if len(rows) < len(table):
            places = np.full(len(table), None)
            places[rows] = range(len(rows))
            answers = answers.select(pl.all().gather(pl.Series(places.tolist(), dtype=pl.UInt32)))
        return answers, len(rows)

    def complete(self, everything: Part) -> np.ndarray:
        """The numbers of the rows that have an answer: those with a text, and with all else that the model needs."""
        needed = [everything.texts, *(everything.beside.values() if self._needs_all else ())]
        there = [[value is not None for value in values] for values in needed]
        return np.flatnonzero(np.all(there, 0))

    def read(self, table: Table) -> Part:
        """What the model reads of a table; `DataError` where it is not there."""
        require_columns(table, [self.input, *self.beside.names])
        return self.beside.part(table, self.input, np.zeros(len(table)))

    @property
    def _needs_all(self) -> bool:
        return getattr(self.model, "needs_all", False)

    @property
    def lacks(self) -> str:
        """What rows without an answer have not."""
        return "lack a value" if self._needs_all and self.beside.names else "have no text"

    def _asked_of_one(self, table: Table) -> dict[str, Any]:
        """The schema of the answers, by the first row that has one; `DataError` where none has, and for a name that is
        taken."""
        everything = self.read(table)
        rows = self.complete(everything)[:1]
        if not len(rows):
            raise DataError(
                f"The first {len(table)} rows of {table.name} {self.lacks}. Is {self.input!r} the column?"
            )
        answers = pl.DataFrame(self.model.columns(take(everything, rows).inputs, level=self.level))
        HEARD.taken(1)
        taken = [name for name in answers.columns if name in table.frame.columns]
        if taken:
            raise DataError(f"{table.name} has a column {taken[0]!r} already. Rename it.")
        return dict(answers.schema)


@dataclass(frozen=True)
class OfTexts:
    """What `Answers` takes for a model of texts, and of columns beside: `answer` gives columns (n,) for n texts, or for
    a dict of n values by `text_column` and the others. needs_all: rows that lack one of them have no answer."""

    answer: Callable[[Any], Mapping[str, Any]]
    text_column: str | None = None
    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    needs_all: bool = False

    def columns(self, X: Any, level: int | None = None) -> Mapping[str, Any]:
        """Of the texts."""
        return self.answer(X)


def predict_table(
    path: Path,
    weights: str,
    table: Path,
    input: str,
    out: Path | None,
    reading: Reading,
    level: int | None,
) -> None:
    """A table with the answers of the saved model at `path`: see `answer_table`."""
    out = check_out(out, table)
    model = load_model(path, weights)
    if weights == "float32" and in_pieces(table.expanduser(), reading):
        model = laid_out(model)
    threads = 1 if getattr(model, "frozen_", None) is None else min(MOST_THREADS, torch.get_num_threads())
    answer_table(Answers(model, input, level), table, out, reading, threads=threads)


def answer_table(
    answers: Answers,
    path: Path,
    out: Path | None,
    reading: Reading,
    pieces: bool = True,
    threads: int = 1,
) -> None:
    """The table at `path` with its answers to `out` or as CSV to stdout; a large one piece by piece, with `pieces`.

    threads: pieces that the model may answer at a time.
    """
    large = pieces and in_pieces(path.expanduser(), reading)
    answers.together = TOGETHER if large else None
    kept = kept_pieces(reading, path, [answers.input, *answers.beside.names], large=large)
    dropped = 0

    def tables() -> Iterator[Table]:
        nonlocal dropped
        first = True
        for table, seen, without in kept:
            dropped = without
            if table is not None:
                if first:  # what can fail for another reason than the model fails before it is asked
                    check_writable(table.frame, out)
                    if out is not None:
                        check_place(out)
                first = False
                yield table
            if large:
                typer.echo(f"\r{seen:,} rows", nl=False, err=True)
        if first:
            raise DataError(f"{path.name} has no text in column {answers.input!r}.")

    with heard():
        frames = answers.frames(tables(), threads if large else 1)
        if out is None:
            for number, frame in enumerate(frames):
                typer.echo(frame.write_csv(include_header=number == 0), nl=False)
        else:
            write_pieces(frames, out)
    if large:
        typer.echo(err=True)
    tell(answers, out, dropped)


def check_out(out: Path | None, table: Path) -> Path | None:
    """`out`, expanded; `DataError` for an unknown format, and where it is `table` itself."""
    if out is None:
        return None
    out = out.expanduser()
    file_format(out, written=True)
    not_what_is_read(out, table)
    return out


def not_what_is_read(out: Path, given: Path) -> None:
    """`DataError` where `out` is the file that is read."""
    if out.exists() and given.exists() and out.samefile(given):
        raise DataError(f"--out {str(out)!r} is the table that is read. Choose another file.")


def in_pieces(table: Path, reading: Reading) -> bool:
    """Whether the table is large, and has pieces."""
    if not table.is_file() or table.stat().st_size < LARGE:
        return False
    return file_format(table, reading.format) not in ("json", "xlsx")


def laid_out(model: Any) -> Any:
    """The model, frozen in float32 where its cell can be: the same numbers, sooner."""
    if choose(type(model).__name__, model.device).type != "cpu":
        return model
    try:
        return model.freeze("float32")
    except EngineError:
        return model


def kept_pieces(
    reading: Reading, path: Path, columns: list[str], rows: int | None = None, *, large: bool = True
) -> Iterator[tuple[Table | None, int, int]]:
    """(a piece of the table without the rows that are dropped, rows read so far, rows dropped so far).

    columns: that are needed, the texts' first. rows: of a piece; None: as `read_pieces` has it. large: False: the whole
    is one piece. The piece is None where nothing of it is left.
    """
    seen = dropped = 0
    size = {} if rows is None else {"rows": rows}
    for table in reading.pieces(path, columns, **size) if large else [reading.read(path, columns)]:
        require_columns(table, columns)
        seen += len(table)
        missing = table.frame[columns[0]].null_count() if reading.drop_missing else 0
        dropped += missing
        if missing == len(table):
            yield None, seen, dropped
        elif missing:
            yield without_missing(table, columns[0], [], "classification", drop=True)[0], seen, dropped
        else:
            yield table, seen, dropped


def tell(answers: Any, out: Path | None, dropped: int) -> None:
    """What was answered, and what could not be."""
    for text in dict.fromkeys(answers.warned[:3]):
        typer.echo(f"warning: {text}", err=True)
    if len(answers.warned) > 3:
        typer.echo(f"warning: the like of {len(answers.warned) - 3} further pieces of the table.", err=True)
    if answers.empty:
        typer.echo(f"warning: {answers.empty} rows {answers.lacks}, and get no prediction.", err=True)
    if out is not None:
        tail = f" {dropped} rows without a text dropped." if dropped else ""
        typer.echo(f"{answers.rows} predictions: {out}.{tail}")
