"""Tables in memory -> polars: DataFrames of pandas and polars, Arrow tables, dicts of columns."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError, described


def given_table(data: Any, needed: Sequence[str], others: bool = True) -> tuple[pl.DataFrame, str] | None:
    """(the columns, "polars", "pandas" or "dict": what `data` is); None where it is no such table.

    needed: columns to read, where they are there, also of a pandas index; others: whether all others are read too.
    None, NaN and NaT of columns of objects are missing. `DataError` for columns of several lengths, of one name or of
    mixed values, and for periods.
    """
    if isinstance(data, pl.DataFrame):
        return data, "polars"
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        if any(name in data.index.names and name not in data.columns for name in needed):
            data = data.reset_index()
        given = [*map(str, data.columns)]
        present = [name for name in given if others or name in needed]
        for name in present:
            if given.count(name) > 1:
                raise DataError(f"The table has more than one column {name!r}. Rename one of them.")
        return pl.DataFrame([_of_pandas(n, data.iloc[:, given.index(n)]) for n in present]), "pandas"
    if isinstance(data, Mapping):
        columns = {str(name): column for name, column in data.items() if others or name in needed}
        sizes = {name: len(column) if hasattr(column, "__len__") else 1 for name, column in columns.items()}
        if len(set(sizes.values())) > 1 or any(not hasattr(column, "__len__") for column in columns.values()):
            raise DataError(f"The columns must have one length. Got {sizes}.")
        return pl.DataFrame([_column(name, column) for name, column in columns.items()]), "dict"
    if hasattr(data, "__arrow_c_stream__") and not (hasattr(data, "to_list") or hasattr(data, "type")):
        return pl.DataFrame(data), "polars"
    return None


def _of_pandas(name: str, column: Any) -> pl.Series:
    array = column.to_numpy()
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")  # polars knows no seconds
    if type(getattr(column, "dtype", None)).__name__ == "PeriodDtype":
        raise DataError(f"Column {name!r} holds periods of pandas. Make stamps of them: .dt.to_timestamp().")
    return pl.Series(name, array) if array.dtype.kind in "iufbmM" else _column(name, column.tolist())


def _column(name: str, values: Any) -> pl.Series:
    """None and NaN of lists are missing; whole numbers and fractions are numbers, numbers and texts are not mixed."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "iloc"):
        return _of_pandas(name, values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufbM":
        return pl.Series(name, values)
    items = list(values.tolist() if hasattr(values, "tolist") else values)
    items = [None if v is None or v != v or type(v).__name__ in ("NAType", "NaTType") else v for v in items]
    kinds = {type(v) for v in items if v is not None}
    if len(kinds) > 1 and all(issubclass(kind, numbers.Real) and kind is not bool for kind in kinds):
        items = [None if v is None else float(v) for v in items]
    try:
        found = pl.Series(name, items)
        if found.dtype != pl.Object:
            return found
        raise TypeError(f"such as {described(next(v for v in items if v is not None))}")
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"Column {name!r} mixes kinds of values, or holds objects: {str(error).splitlines()[0]}"
        ) from None
