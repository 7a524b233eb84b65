"""The texts and targets of a table that is larger than memory, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError, check_int
from unspool.tables.columns import (
    columns_beside,
    label_column,
    number_columns,
    text_column,
    without_missing,
)
from unspool.tables.pieces import ROWS, read_pieces
from unspool.tables.read import Table


@dataclass(frozen=True)
class Piece:
    """Neighbouring rows. start: the place of the first among all rows that are kept."""

    start: int
    texts: list[str]
    table: Table
    beside: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class TableStream:
    """A table that is read again and again in pieces, never whole; only the columns named here.

    path: Parquet, JSON lines, CSV or TSV. text: the column of texts. targets: the columns to predict. weight: a column
    of sample weights. numeric, categorical: columns beside the texts. drop_missing: leave rows out that lack a text or
    a target; False is an error that names them. rows: of a piece. reading: further options of `read_table`.
    """

    path: str | Path
    text: str
    targets: Sequence[str]
    weight: str | None = None
    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    drop_missing: bool = False
    rows: int = ROWS
    reading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_int("TableStream", "rows", self.rows)
        if not self.targets or isinstance(self.targets, str):
            raise DataError(f"targets must be a list of names of columns. Got {self.targets!r}.")
        if len(set(self.columns)) < len(self.columns):
            raise DataError(f"The columns of a TableStream must be different. Got {self.columns}.")

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        weight = [] if self.weight is None else [self.weight]
        return [self.text, *self.targets, *weight, *self.numeric, *self.categorical]

    def pieces(self, task: str) -> Iterator[Piece]:
        """The rows that are kept, in order. task: its name, by which a target counts as missing."""
        start = 0
        for table in read_pieces(self.path, self.columns, rows=self.rows, **self.reading):
            if table.frame[self.text].dtype == pl.Null or self._all_missing(table):
                kept, there = table, False
            else:
                kept, _ = without_missing(table, self.text, self.targets, task, drop=self.drop_missing)
                there = True
            if not there:
                continue
            beside = columns_beside(kept, self.numeric, self.categorical)
            yield Piece(start, text_column(kept, self.text), kept, beside)
            start += len(kept)

    def _all_missing(self, table: Table) -> bool:
        """A piece of which nothing is left; an error where rows may not be dropped."""
        missing = table.frame.select(
            pl.any_horizontal(pl.col([self.text, *self.targets]).is_null())
        ).to_series()
        if not missing.all():
            return False
        if not self.drop_missing:
            raise DataError(
                f"Rows {table.rows[0]} to {table.rows[-1]} of {table.name} lack a text or a target. Fill them in, or "
                "drop those rows with --drop-missing."
            )
        return True

    def weights(self, piece: Piece) -> np.ndarray | None:
        """(n,) float64."""
        return None if self.weight is None else number_columns(piece.table, [self.weight])


class Labels:
    """Labels (n,) of many pieces as numbers of different spellings, so that each is kept once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._parts: list[np.ndarray] = []

    def add(self, table: Table, name: str) -> None:
        """The labels of a piece."""
        words = label_column(table, name).astype(str)
        different, places = np.unique(words, return_inverse=True)
        numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in different.tolist()]
        self._parts.append(np.array(numbers, np.int32)[places])

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """(the different labels, whole numbers where all are; (n,) the place of each row's)."""
        words = pl.DataFrame({"": pl.Series([*self._numbers], dtype=pl.String)})
        return label_column(Table(words, np.arange(len(words)), "the table"), ""), np.concatenate(self._parts)
