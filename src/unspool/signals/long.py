"""Long tables: a row a step, with the columns of the series' id, of the step, and of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError, did_you_mean
from unspool.signals.labelled import Labelled, labels_or_numbers


def from_long(
    table: Any,
    id: str = "unique_id",
    step: str = "step",
    features: Sequence[str] | None = None,
    target: str | None = None,
) -> Labelled:
    """The series of a long table (a pandas, polars or Arrow frame, or a dict of columns), in the order in which their
    ids appear first.

    step: the column by which the rows of a series are sorted; how far apart steps are is not looked at.
    features: the columns of numbers; None: all others. An empty cell is a missing value (NaN). target: the column of
    the label or number, one and the same in all rows of a series; None: y is None.
    Raises `DataError` for a missing column, cells that are no numbers, an empty id or step, a step that a series has
    twice, and a target that differs within a series or is missing.
    """
    frame = table if isinstance(table, pl.DataFrame) else _frame(table)
    given = [id, step, *([] if target is None else [target])]
    features = [name for name in frame.columns if name not in given] if features is None else list(features)
    for name in [*given, *features]:
        if name not in frame.columns:
            hint = did_you_mean(name, frame.columns)
            raise DataError(
                f"The table has no column {name!r}. It has {', '.join(map(repr, frame.columns))}. {hint}".rstrip()
            )
    if not features or not frame.height:
        raise DataError(
            f"The table must have a row and a column of features beside {', '.join(map(repr, given))}."
        )
    if len({*given, *features}) < len(given) + len(features):
        raise DataError("The id, the step, the target and every feature must be different columns.")
    values = [_numbers(frame[name]) for name in features]
    steps = _steps(frame[step])
    for name, column in ((id, frame[id]), (step, steps)):
        if column.null_count():
            row = int(column.is_null().arg_max() or 0) + 1
            raise DataError(f"Column {name!r} is empty in row {row} (counted from 1). Every step needs both.")
    rows = pl.DataFrame(
        {
            "series": _order(frame[id]),
            "step": steps,
            "row": pl.Series(range(frame.height)),
        }
    ).sort("series", "step", maintain_order=True)
    series, order = rows["series"].to_numpy(), rows["row"].to_numpy()
    names = frame[id].unique(maintain_order=True).to_list()
    twice = np.flatnonzero((series[1:] == series[:-1]) & (rows["step"][1:] == rows["step"][:-1]).to_numpy())
    if len(twice):
        at = rows["step"][int(twice[0])]
        raise DataError(f"Series {names[series[twice[0]]]!r} has the step {at!r} twice. A row is a step.")
    starts = np.flatnonzero(np.diff(series)) + 1
    matrix = np.stack([column.to_numpy() for column in values], 1)[order]
    y = None if target is None else _targets(frame[target], target, np.split(order, starts), names)
    return Labelled(names, np.split(matrix, starts), y, features)


def _frame(table: Any) -> pl.DataFrame:
    try:
        if hasattr(table, "columns") and hasattr(table, "iloc"):  # pandas; its own NaN are missing values
            return pl.DataFrame({str(name): pl.Series(table[name].to_numpy()) for name in table.columns})
        return pl.DataFrame(table)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"A long table must be a DataFrame or a dict of columns. {error}") from error


def _order(ids: pl.Series) -> pl.Series:
    """(rows,): the number of each row's series, by first appearance."""
    names = ids.unique(maintain_order=True)
    return ids.to_frame("id").join(
        pl.DataFrame({"id": names, "n": range(len(names))}), on="id", how="left", maintain_order="left"
    )["n"]


def _numbers(column: pl.Series) -> pl.Series:
    """float64, NaN where a cell is empty."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Null)):
        raise DataError(f"Column {column.name!r} holds {column.dtype} values, not numbers.")
    found = column.cast(pl.Float64, strict=False)
    bad = found.is_null() & column.is_not_null()
    if column.dtype == pl.String:
        bad &= column.fill_null("").str.strip_chars() != ""
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            f"Column {column.name!r} must hold numbers; row {row + 1} (counted from 1) holds {column[row]!r}. "
            "Name the columns of numbers as features, and the label as target."
        )
    return found.fill_null(float("nan"))


def _steps(column: pl.Series) -> pl.Series:
    """Numbers or times; texts as numbers where all are, then as dates and times."""
    if column.dtype != pl.String:
        return column
    found = column.cast(pl.Float64, strict=False)
    if not found.null_count():
        return found
    try:
        return column.str.to_datetime()
    except pl.exceptions.PolarsError:
        raise DataError(
            f"The column of steps, {column.name!r}, must hold numbers or dates. Got {column[0]!r}."
        ) from None


def _targets(column: pl.Series, target: str, rows: list[np.ndarray], names: list[Any]) -> np.ndarray:
    cells = column.to_list()
    found = []
    for name, own in zip(names, rows):
        held = {cells[row] for row in own.tolist()}
        if len(held) > 1 or None in held:
            shown = ", ".join(sorted(map(repr, held))[:3])
            raise DataError(f"Series {name!r} must have one {target!r} in all its rows. Got {shown}.")
        found.append(held.pop())
    if column.dtype == pl.String:
        return labels_or_numbers(found)
    return np.array(found)
