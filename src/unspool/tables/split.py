"""Training, validation and test rows: by a column of the table, or a seeded random share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError
from unspool.stratify import stratified
from unspool.tables.read import Table

PARTS = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Split:
    """Row indices (int64) of each part; `validation` is empty where the table names none."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def by_column(table: Table, name: str) -> Split:
    """The parts named in column `name`: train, dev / valid / validation, test, in any case of letters.

    Raises `DataError` for any other value, and where no row is for training or for the test.
    """
    cells = table.frame[name].to_list()
    parts = np.array([PARTS.get(str(cell).strip().lower(), "") for cell in cells])
    unknown = np.flatnonzero(parts == "")
    if len(unknown):
        raise DataError(
            f"Column {name!r} of {table.name} must hold train, dev (or valid, validation) or test. "
            f"Row {table.rows[unknown[0]]} holds {cells[unknown[0]]!r}."
        )
    split = Split(*(np.flatnonzero(parts == part) for part in ("train", "validation", "test")))
    for part, rows in (("train", split.train), ("test", split.test)):
        if not len(rows):
            raise DataError(f"Column {name!r} of {table.name} marks no row as {part!r}.")
    return split


def by_fraction(n: int, fraction: float, seed: int, labels: np.ndarray | None = None) -> Split:
    """A seeded random share of `n` rows for the test, the rest for training.

    fraction: of the rows, in (0, 1). labels (n,): keeps every class's share as nearly as the size of the test allows
    (`unspool.stratify`). Raises `DataError` where no row is left for the test.
    """
    if n < 2:
        raise DataError(
            f"{n} row{'s are' if n != 1 else ' is'} too few to set some aside for the test. "
            "Add rows, or give a test table with --test."
        )
    rng = np.random.default_rng(seed)
    size = min(max(round(n * fraction), 1), n - 1)
    chosen = np.sort(rng.permutation(n)[:size]) if labels is None else stratified(labels, size, rng)
    return Split(np.setdiff1d(np.arange(n), chosen), np.arange(0), chosen)


def shared_texts(train: Sequence[str], test: Sequence[str]) -> int:
    """How many of the test texts stand, letter for letter, in the training part too."""
    seen = set(train)
    return sum(text in seen for text in test)
