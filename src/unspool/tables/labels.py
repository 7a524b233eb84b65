"""A column of labels joined by a mark -> a column of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from unspool.errors import DataError, warn_caller
from unspool.tables.read import Table


def split_labels(
    table: Table, name: str, separator: str, known: Sequence[str] | None = None
) -> tuple[Table, list[str]]:
    """(the table with a column of 0 and 1 for each label of column `name` in its place, the labels, sorted).

    Labels are stripped of blanks; an empty cell has none. known: the labels there are, in their order; others are told
    of and left out. `DataError` for a column that is no text, for a label that is called as another column, and where
    there are fewer than two.
    """
    column = table.frame[name]
    if column.dtype != pl.String:
        raise DataError(
            f"Column {name!r} of {table.name} holds {column.dtype} values, not labels joined by {separator!r}."
        )
    cells = [{label.strip() for label in (cell or "").split(separator)} - {""} for cell in column.to_list()]
    found = sorted(set().union(*cells))
    labels = found if known is None else list(known)
    strange = [label for label in found if label not in labels]
    if strange:
        warn_caller(
            f"Column {name!r} of {table.name} has labels that training has not, such as {strange[0]!r}: left out."
        )
    if len(labels) < 2:
        raise DataError(
            f"Column {name!r} of {table.name} has {len(labels)} label{'s' * (len(labels) != 1)} joined by "
            f"{separator!r}: {labels}. Two or more are needed; is it another --label-separator?"
        )
    rest = table.frame.drop(name)
    taken = [label for label in labels if label in rest.columns]
    if taken:
        raise DataError(
            f"{table.name} has a column {taken[0]!r}, as a label of {name!r} is called. Rename it."
        )
    columns = [pl.Series(label, [int(label in cell) for cell in cells]) for label in labels]
    return replace(table, frame=rest.with_columns(columns)), labels
