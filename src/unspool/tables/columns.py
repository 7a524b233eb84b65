"""Columns of a table -> texts, numbers and labels; errors name the column and the first bad rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from unspool.errors import DataError, did_you_mean
from unspool.tables.numbers import looks_like, to_numbers
from unspool.tables.read import Table

MANY_VALUES = 10
NUMBERS = ("regression", "multilabel", "count", "positive")  # tasks whose targets are numbers
FEW_ARE_LABELS = ("numbers with units", "fractions", "numbers with marks")
WHOLE_NUMBER = r"^-?(0|[1-9]\d*)(\.0+)?$"


@dataclass(frozen=True)
class Decision:
    """The name of the task and the sentence that says why."""

    name: str
    reason: str


def require_columns(table: Table, names: Sequence[str]) -> None:
    """`DataError` naming the first of `names` that the table lacks, with the nearest column."""
    for name in names:
        if name in table.repeated:
            raise DataError(f"{table.name} has more than one column named {name!r}. Rename one of them.")
        if name in table.frame.columns:
            continue
        hint = did_you_mean(name, table.frame.columns)
        if table.frame.width == 1 and any(mark in table.frame.columns[0] for mark in ";,\t|"):
            hint = "The table has one column only: is another --delimiter needed?"
        columns = ", ".join(map(repr, table.frame.columns))
        raise DataError(f"{table.name} has no column {name!r}. It has {columns}. {hint}".rstrip())


def _numbers(table: Table, name: str) -> tuple[pl.Series, pl.Series, str | None]:
    """(values as f64, mask of the cells that mean "missing", the unit that is left out)."""
    column = table.frame[name]
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        values = column.cast(pl.Float64)
        return values, values.is_null() | values.is_nan().fill_null(True), None
    if column.dtype.is_temporal():
        raise DataError(
            f"Column {name!r} of {table.name} holds {column.dtype} values. Make numbers of them first, such as days "
            "since the earliest, or labels, as text."
        )
    if column.dtype == pl.Null:
        raise DataError(f"Column {name!r} of {table.name} is empty: no row has a value.")
    if column.dtype != pl.String:
        raise DataError(f"Column {name!r} holds {column.dtype} values, neither numbers nor text.")
    return to_numbers(column, table.style)


def _question(table: Table, name: str, strays: pl.Series) -> str:
    """What the cells look like that are no numbers, and what to do about it; "" where they are words."""
    found = looks_like(strays)
    if found is None:
        return ""
    what, advice = found
    shown = " and ".join(repr(cell) for cell in strays.drop_nulls().unique(maintain_order=True)[:2])
    return (
        f"Column {name!r} of {table.name} seems to hold {what}, such as {shown}: {advice}. "
        "If they are labels, use --task classification."
    )


def _rows(numbers: np.ndarray, limit: int = 5) -> str:
    shown = ", ".join(str(n) for n in numbers[:limit])
    word = "row" if len(numbers) == 1 else "rows"
    return f"{word} {shown}{', ...' if len(numbers) > limit else ''}"


def decide_task(table: Table, targets: Sequence[str], asked: str = "auto") -> Decision:
    """The task for `targets`; `asked` is "auto" or a task's name.

    The rule of "auto": several targets of 0 and 1 are labels; several others, or one whose every value is a number
    with more than 10 distinct values or any fraction, is regression; anything else is classification.
    """
    if asked == "multilabel":
        if len(targets) == 1:
            raise DataError(
                "The task 'multilabel' takes a --target of 0 and 1 for each of two labels or more, or one of labels "
                "joined by a mark, which --label-separator names."
            )
        return Decision("multilabel", "asked for with --task")
    if asked in NUMBERS and asked != "regression":
        return Decision(asked, "asked for with --task")
    if len(targets) > 1:
        if asked in ("classification", "ordinal"):
            raise DataError(
                f"{asked.capitalize()} takes one --target. Got {', '.join(map(repr, targets))}. For columns of 0 and "
                "1, any number of which may be 1, use --task multilabel."
            )
        if asked == "auto" and all(_zero_or_one(table, name) for name in targets):
            return Decision("multilabel", f"{len(targets)} targets of 0 and 1")
        return Decision("regression", f"{len(targets)} targets")
    if asked != "auto":
        return Decision(asked, "asked for with --task")
    name = targets[0]
    values, missing, unit = _numbers(table, name)
    present = values.filter(~missing)
    distinct = table.frame[name].filter(~missing).n_unique()
    # A column that is mostly numbers is meant as numbers: its stray words are reported as bad rows.
    stray = int(present.null_count())
    if len(present) and stray / len(present) < 0.5:
        known, bare = present.drop_nulls(), "" if unit is None else f", read without {unit!r}"
        if bool((known != known.floor()).any()):
            return Decision("regression", f"{name!r} holds numbers with fractions{bare}")
        if known.n_unique() > MANY_VALUES:
            return Decision("regression", f"{name!r} holds {known.n_unique()} distinct numbers{bare}")
        return Decision("classification", f"{name!r} holds {distinct} distinct whole numbers")
    if stray:
        strays = table.frame[name].filter(~missing & values.is_null())
        found = looks_like(strays)
        # Ten labels such as "3 stars" are labels.
        if found and (distinct > MANY_VALUES or found[0] not in FEW_ARE_LABELS):
            raise DataError(_question(table, name, strays))
    return Decision("classification", f"{name!r} holds {distinct} distinct labels, not numbers")


def _zero_or_one(table: Table, name: str) -> bool:
    column = table.frame[name]
    if column.dtype != pl.String and not column.dtype.is_numeric() and column.dtype != pl.Boolean:
        return False
    values, missing, _ = _numbers(table, name)
    return bool(values.filter(~missing).is_in([0.0, 1.0]).fill_null(False).all())


def without_missing(
    table: Table, text: str, targets: Sequence[str], task: str, *, drop: bool = False
) -> tuple[Table, int]:
    """The table without rows that lack a text or a target, and how many went.

    task: where targets are numbers a target cell that is no number is missing too.
    drop: False (default) raises `DataError` with the count and first row numbers of each such column.
    """
    bad = np.zeros(len(table), dtype=bool)
    for name in [text, *targets]:
        column = table.frame[name]
        if name in targets and task in NUMBERS:
            missing = _numbers(table, name)[1].to_numpy()
        else:
            nan = column.is_nan() if column.dtype.is_float() else pl.Series([False])
            missing = (column.is_null() | nan.fill_null(False)).to_numpy()
        if missing.any() and not drop:
            count = int(missing.sum())
            raise DataError(
                f"Column {name!r} of {table.name} has {count} missing value{'s' if count > 1 else ''}: "
                f"{_rows(table.rows[missing])} (counted from 1, header left out). "
                "Fill them in, or drop those rows with --drop-missing."
            )
        bad |= missing
    if bad.all():
        raise DataError(f"{table.name} has no row with every value present.")
    return (table.take(~bad), int(bad.sum())) if bad.any() else (table, 0)


def text_column(table: Table, name: str) -> list[str]:
    """The texts of column `name`, R of them; `DataError` if the column holds no text."""
    column = table.frame[name]
    if column.dtype != pl.String:
        raise DataError(
            f"Column {name!r} of {table.name} holds {column.dtype} values, not text. Name the column of texts, or "
            "write its values as text."
        )
    return column.to_list()


def number_columns(
    table: Table, names: Sequence[str], hint: str = "For labels, use --task classification."
) -> np.ndarray:
    """The numbers of columns `names`: (R,) for one, (R, K) for K; `DataError` for cells that are none, with a hint."""
    arrays = []
    for name in names:
        values, missing, _ = _numbers(table, name)
        good = values.is_finite().fill_null(False).to_numpy()
        bad = ~good | missing.to_numpy()
        if bad.any():
            cells = table.frame[name].to_list()
            asked = _question(table, name, table.frame[name].cast(pl.String).filter(pl.Series(bad)))
            shown = [f"row {table.rows[i]}: {cells[i]!r}" for i in np.flatnonzero(bad)[:3]]
            raise DataError(
                f"Column {name!r} of {table.name} must hold finite numbers. {int(bad.sum())} of {len(table)} "
                f"rows do not: {'; '.join(shown)}. {asked or hint}".rstrip()
            )
        arrays.append(values.to_numpy())
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)


def weight_column(table: Table, name: str) -> np.ndarray:
    """(R,): the weights of rows; `DataError` for a column that is not there, and cells that are none."""
    require_columns(table, [name])
    weights = number_columns(table, [name], hint="")
    bad = np.flatnonzero(weights < 0)
    if len(bad) or not weights.any():
        what = f"Row {table.rows[bad[0]]} has {weights[bad[0]]:g}." if len(bad) else "All are 0."
        raise DataError(f"Column {name!r} of {table.name} must hold weights, numbers of 0 or more. {what}")
    return weights


def columns_beside(
    table: Table, numeric: Sequence[str], categorical: Sequence[str]
) -> dict[str, list[float | str | None]]:
    """Name -> R numbers or categories, None where one is missing; `DataError` for cells that are no numbers."""
    require_columns(table, [*numeric, *categorical])
    found: dict[str, list[float | str | None]] = {}
    for name in numeric:
        missing = _numbers(table, name)[1].to_numpy()
        there = number_columns(table.take(~missing), [name]) if not missing.all() else np.zeros(0)
        values: list[float | str | None] = [None] * len(table)
        for row, number in zip(np.flatnonzero(~missing), there, strict=True):
            values[row] = float(number)
        found[name] = values
    for name in categorical:
        column = table.frame[name]
        if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Binary):
            raise DataError(
                f"Column {name!r} of {table.name} holds {column.dtype} values, which are no categories."
            )
        found[name] = column.to_list() if column.dtype.is_numeric() else column.cast(pl.String).to_list()
    return found


def label_column(table: Table, name: str) -> np.ndarray:
    """The labels of column `name` (R,): int64 where every label is a whole number, otherwise str."""
    column = table.frame[name]
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        raise DataError(f"Column {name!r} of {table.name} holds {column.dtype} values, which are no labels.")
    words = column.cast(pl.String)
    if bool(words.str.contains(WHOLE_NUMBER).all()):
        # Never by way of floats, in which neighbours above 2^53 are one; beyond int64 they stay texts.
        whole = words.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
        if not whole.null_count():
            return whole.to_numpy()
    return np.array(words.to_list(), dtype=str)
