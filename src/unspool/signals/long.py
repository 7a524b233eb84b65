"""Long tables: a row a step, with the columns of the series' id, of the step, and of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError, described, did_you_mean
from unspool.signals.labelled import Labelled, labels_or_numbers
from unspool.tables.given import given_table
from unspool.tables.numbers import Style, looks_like, to_numbers


def from_long(
    table: Any,
    id: str = "unique_id",
    step: str = "step",
    features: Sequence[str] | None = None,
    target: str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
) -> Labelled:
    """The series of a long table (a pandas, polars or Arrow frame, or a dict of columns), in the order in which their
    ids appear first.

    step: the column by which the rows of a series are sorted: numbers, or dates and times, as texts such as
    "2024-01-31 18:00"; how far apart steps are is not looked at. features: the columns of numbers; None: all others. An
    empty cell, or "NA" and what else others write, is a missing value (NaN). decimal, thousands: how texts write
    numbers, as of `unspool.tables.read_table`. target: the column of
    the label or number, one and the same in all rows of a series; None: y is None.
    Raises `DataError` for a missing column, cells that are no numbers, an empty id or step, a step that a series has
    twice, and a target that differs within a series or is missing.
    """
    read = given_table(table, (id, step))
    if read is None:
        raise DataError(f"A long table must be a DataFrame or a dict of columns. Got {described(table)}.")
    frame = read[0]
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
    style = Style(decimal, thousands)
    values = [_numbers(frame[name], style) for name in features]
    ids, steps = frame[id], _steps(frame[step])
    for name, column in ((id, ids), (step, steps)):
        column = column.fill_nan(None) if column.dtype.is_float() else column
        if column.null_count():
            row = int(column.is_null().arg_max() or 0) + 1
            raise DataError(f"Column {name!r} is empty in row {row} (counted from 1). Every step needs both.")
    rows = pl.DataFrame(
        {
            "series": _order(ids),
            "step": steps,
            "row": pl.Series(range(frame.height)),
        }
    ).sort("series", "step", maintain_order=True)
    series, order = rows["series"].to_numpy(), rows["row"].to_numpy()
    names = ids.unique(maintain_order=True).to_list()
    twice = np.flatnonzero((series[1:] == series[:-1]) & (rows["step"][1:] == rows["step"][:-1]).to_numpy())
    if len(twice):
        at = frame[step][int(order[twice[0] + 1])]
        shown = repr(at) if isinstance(at, (str, int, float)) else str(at)
        raise DataError(f"Series {names[series[twice[0]]]!r} has the step {shown} twice. A row is a step.")
    starts = np.flatnonzero(np.diff(series)) + 1
    matrix = np.stack([column.to_numpy() for column in values], 1)[order]
    y = None if target is None else _targets(frame[target], target, np.split(order, starts), names)
    return Labelled(names, np.split(matrix, starts), y, features)


def _order(ids: pl.Series) -> pl.Series:
    """(rows,): the number of each row's series, by first appearance."""
    names = ids.unique(maintain_order=True)
    return ids.to_frame("id").join(
        pl.DataFrame({"id": names, "n": range(len(names))}), on="id", how="left", maintain_order="left"
    )["n"]


def _numbers(column: pl.Series, style: Style) -> pl.Series:
    """float64, NaN where a value is missing."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Null)):
        raise DataError(f"Column {column.name!r} holds {column.dtype} values, not numbers.")
    if column.dtype != pl.String:
        return column.cast(pl.Float64).fill_null(float("nan"))
    found, missing, _ = to_numbers(column, style)
    found = found.set(missing, None)
    bad = found.is_null() & ~missing
    if bad.any():
        row = int(bad.arg_max() or 0)
        what = looks_like(column.filter(bad))
        hint = "Name the columns of numbers as features, and the label as target."
        if what is not None:
            hint = f"It seems to hold {what[0]}: {what[1]}."
        raise DataError(
            f"Column {column.name!r} must hold numbers; row {row + 1} (counted from 1) holds {column[row]!r}. {hint}"
        )
    return found.fill_null(float("nan"))


def _steps(column: pl.Series) -> pl.Series:
    """Numbers or times; texts as numbers where all are, then as dates and times that begin with the year."""
    if column.dtype != pl.String:
        return column
    for kind in (pl.Int64, pl.Float64):
        found = column.cast(kind, strict=False)
        if found.null_count() == column.null_count():
            return found
    dated = column.str.contains(r"^\s*\d{4}\D").fill_null(True)
    try:
        if dated.all():
            return column.str.to_datetime()
    except pl.exceptions.PolarsError:
        pass
    row = int((~dated).arg_max() or 0)
    raise DataError(
        f"The column of steps, {column.name!r}, must hold numbers or dates in one form, such as '2024-01-31' or "
        f"'2024-01-31 18:00'. Got {column[row]!r} in row {row + 1} (counted from 1)."
    )


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
