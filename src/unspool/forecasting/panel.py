"""Long tables and arrays to series on one calendar: sorted, double stamps refused, gaps and missing values as NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from unspool.arrays import unwrapped
from unspool.errors import DataError, did_you_mean, warn_caller
from unspool.forecasting.calendar import Calendar, Stamps, infer, parse_frequency, with_ends
from unspool.tables import Table
from unspool.tables.given import given_table
from unspool.tables.numbers import Style, to_numbers
from unspool.tasks.reading import read_weights

KINDS = ("polars", "pandas", "dict", "arrays")


LARGE = 1e100  # of values, whose squares are added up


@dataclass(frozen=True)
class Names:
    """The columns of a long table. id: None where there is one series. past, future: of numbers, known up to now and
    known ahead. static: of numbers or categories, one value a series."""

    id: str | None = "unique_id"
    time: str = "ds"
    target: str = "y"
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    @property
    def all(self) -> list[str]:
        """Every column that is read, once."""
        key = [] if self.id is None else [self.id]
        return list(dict.fromkeys([*key, self.time, self.target, *self.past, *self.future, *self.static]))

    @property
    def ahead(self) -> list[str]:
        """Those of a table of what is known ahead."""
        return [*([] if self.id is None else [self.id]), self.time, *self.future]


@dataclass(frozen=True)
class Panel:
    """S series. ids: of each. firsts (S,): the first stamp. values: for each (T, 1 + past + future) float64, the target
    first, NaN where missing. static: for each a tuple of raw values. kind: what the table was. weights: of each (T,)
    in the loss, or None."""

    names: Names
    kind: str
    stamps: Stamps
    calendar: Calendar
    ids: list[Any]
    firsts: np.ndarray
    values: list[np.ndarray]
    static: list[tuple[Any, ...]]
    id_type: Any = field(default=pl.Int64)
    weights: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> np.ndarray:
        """(S,): steps of each."""
        return np.array([len(v) for v in self.values], np.int64)

    def targets(self) -> list[np.ndarray]:
        """(T,) of each."""
        return [v[:, 0] for v in self.values]

    def take(self, rows: Sequence[int]) -> Panel:
        """Some of the series."""
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            firsts=self.firsts[list(rows)],
            values=[self.values[i] for i in rows],
            static=[self.static[i] for i in rows],
            weights=None if self.weights is None else [self.weights[i] for i in rows],
        )

    def frame(self, series: np.ndarray, positions: np.ndarray) -> pl.DataFrame:
        """The id and time columns of rows: series (n,), positions (n,) in each."""
        stamps = np.zeros(len(series), np.int64)
        for s in np.unique(series):
            of = series == s
            stamps[of] = self.calendar.stamps(int(self.firsts[s]), positions[of])
        columns = [self.stamps.column(self.names.time, stamps)]
        if self.names.id is not None:
            ids = pl.Series(self.names.id, self.ids, dtype=self.id_type)
            columns.insert(0, ids.gather(series))
        return pl.DataFrame(columns)

    def given(self, frame: pl.DataFrame) -> Any:
        """`frame` as the kind of table that came: a pandas or polars DataFrame, or a dict of arrays."""
        if self.kind == "pandas":
            import pandas

            return pandas.DataFrame({column.name: _to_pandas(column) for column in frame})
        if self.kind == "dict":
            return {column.name: column.to_numpy() for column in frame}
        return frame


def _to_pandas(column: pl.Series) -> Any:
    """As pandas has it: NumPy knows no zones of time, and texts as objects."""
    import pandas

    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
        moments = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return pandas.Series(moments.to_numpy()).dt.tz_localize("UTC").dt.tz_convert(column.dtype.time_zone)
    return column.to_list() if column.dtype == pl.String else column.to_numpy()


def read_panel(
    data: Any,
    names: Names,
    freq: Any = None,
    calendar: Calendar | None = None,
    target: bool = True,
    id_type: Any = None,
    row_weights: Any = None,
) -> Panel:
    """The series of `data`.

    data: a polars or pandas DataFrame, an Arrow table, a `unspool.tables.Table` or a dict of columns, one row a time
    stamp of a series, in any order; or arrays: (S, T), or a list of (T,), whose stamps are 0, 1, ... freq: the step, as
    `Forecaster` takes it; calendar: one that is known. id_type: that of ids that are known. target: False reads a table
    of the future, without the target and past columns. row_weights: of the rows of a table. Warns of rows out of order,
    gaps and missing values. Raises `DataError`.
    """
    style = data.style if isinstance(data, Table) else Style()
    frame, kind = _frame(data.frame if isinstance(data, Table) else data, names)
    wanted = names.all if target else names.ahead
    _require(frame, wanted)
    frame = frame.select(wanted)
    if frame.height == 0:
        raise DataError("The table has no rows.")
    stamps = Stamps.of(frame[names.time])
    numbers = stamps.numbers(frame[names.time])
    ids = _ids(frame, names, id_type)
    codes = ids.rank("dense").to_numpy().astype(np.int64)
    order = np.lexsort((numbers, codes))
    columns = _numbers(frame, names, target, style)
    weighed = row_weights is not None and kind != "arrays"
    if weighed:
        columns = np.column_stack([columns, _row_weights(row_weights, frame.height)])
    codes, numbers, columns = codes[order], numbers[order], columns[order]
    edges = np.flatnonzero(np.diff(codes)) + 1
    groups, parts = np.split(numbers, edges), np.split(columns, edges)
    rows = np.split(order, edges)
    labels = [ids[int(r[0])] for r in rows]
    _check_double(groups, labels, stamps, names)
    if any(bool((np.diff(r) < 0).any()) for r in rows):
        warn_caller(f"The rows of some series are not in the order of {names.time!r}; they are sorted.")
    if calendar is None:
        found = infer(stamps, groups) if freq is None else parse_frequency(freq, stamps)
        calendar = with_ends(found, groups)
    firsts = np.array([g[0] for g in groups], np.int64)
    values = [_on_grid(g, p, calendar, label, stamps, names) for g, p, label in zip(groups, parts, labels)]
    static = _static(frame, names, rows, labels)
    weights = None
    if weighed:
        weights = [np.nan_to_num(v[:, -1]) for v in values]
        values = [v[:, :-1] for v in values]
    if target:
        _tell_missing(groups, values, labels, names)
    return Panel(names, kind, stamps, calendar, labels, firsts, values, static, ids.dtype, weights)


def _row_weights(given: Any, rows: int) -> np.ndarray:
    if isinstance(given, (str, bytes)) or not hasattr(given, "__len__") or len(given) != rows:
        got = len(given) if hasattr(given, "__len__") and not isinstance(given, (str, bytes)) else repr(given)
        raise DataError(
            f"sample_weight must be a dict from a series' id to its weight, or a number for each of the {rows} rows of "
            f"the table. Got {got}."
        )
    return np.asarray(read_weights(given, rows))


def _frame(data: Any, names: Names) -> tuple[pl.DataFrame, str]:
    found = given_table(data, names.all, others=False)
    return (_from_arrays(data, names), "arrays") if found is None else found


def _from_arrays(data: Any, names: Names) -> pl.DataFrame:
    try:
        rows = [np.asarray(unwrapped(row)) for row in data]
        if any(row.dtype.kind in "cmM" for row in rows):
            raise TypeError
        rows = [row.astype(float) for row in rows]
    except (TypeError, ValueError):
        raise DataError(
            "A forecaster takes a long table (a polars or pandas DataFrame, or a dict of columns) with a row a time "
            f"stamp, an array (S, T), or a list of S arrays (T,). Got {type(data).__name__}."
        ) from None
    if any(row.ndim != 1 for row in rows) or not rows:
        shape = rows[0].shape if rows else (0,)
        raise DataError(
            "Arrays must be (S, T), or a list of S arrays (T,): one number a step of a series. Got series of shape "
            f"{shape}. For one series pass [y]; for several columns a long table, a series each."
        )
    if names.past or names.future or names.static:
        raise DataError("Arrays hold the target alone. For covariates pass a long table.")
    if names.id is None and len(rows) > 1:
        raise DataError(f"id_col=None stands for one series. Got {len(rows)} of them.")
    sizes = [len(row) for row in rows]
    columns = {
        names.time: np.concatenate([np.arange(n) for n in sizes]),
        names.target: np.concatenate(rows),
    }
    if names.id is not None:
        columns[names.id] = np.repeat(np.arange(len(rows)), sizes)
    return pl.DataFrame(columns)


def _require(frame: pl.DataFrame, wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in frame.columns:
            hint = did_you_mean(name, frame.columns)
            if name == "unique_id":
                hint = hint or (
                    "For a table of one series say id_col=None (--id none); or name the column with id_col (--id)."
                )
            known = ", ".join(map(repr, frame.columns)) or "none of those that are needed"
            raise DataError(f"The table has no column {name!r}. It has {known}. {hint}".rstrip())


def _ids(frame: pl.DataFrame, names: Names, known: Any) -> pl.Series:
    if names.id is None:
        return pl.Series("unique_id", np.zeros(frame.height, np.int64))
    column = frame[names.id]
    if column.null_count():
        raise DataError(f"Column {names.id!r} has no id in row {column.is_null().arg_max()}, counted from 0.")
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if known is not None and known.is_integer() and column.dtype == pl.String:
        numbers = column.cast(pl.Int64, strict=False)  # a CSV file's cells are texts
        return column if numbers.null_count() else numbers
    if not (column.dtype.is_integer() or column.dtype == pl.String):
        raise DataError(f"Column {names.id!r} must hold ids: texts or whole numbers. Got {column.dtype}.")
    return column


def _numbers(frame: pl.DataFrame, names: Names, target: bool, style: Style) -> np.ndarray:
    """(n, columns) float64, NaN where missing."""
    wanted = [names.target, *names.past, *names.future] if target else list(names.future)
    columns = []
    for name in wanted:
        column = frame[name]
        if column.dtype == pl.String:
            cells, missing, _ = to_numbers(column, style)
            strange = cells.is_null() & ~missing
            if strange.any():
                row = int(strange.arg_max() or 0)
                raise DataError(
                    f"Column {name!r} must hold numbers. Got {column[row]!r} in row {row}, counted from 0."
                )
            column = cells.set(missing, None)
        elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
            raise DataError(f"Column {name!r} must hold numbers. Got {column.dtype}.")
        values = column.cast(pl.Float64).to_numpy()
        if np.isinf(values).any():
            raise DataError(
                f"Column {name!r} holds infinity in row {int(np.isinf(values).argmax())}, counted from 0."
            )
        if (np.abs(np.nan_to_num(values)) > LARGE).any():
            raise DataError(
                f"Column {name!r} must hold numbers up to {LARGE:g}, whose squares float64 holds. Got "
                f"{np.nanmax(np.abs(values)):g}. Give them in another unit."
            )
        columns.append(values)
    return np.stack(columns, 1) if columns else np.zeros((frame.height, 0))


def _check_double(groups: list[np.ndarray], labels: list[Any], stamps: Stamps, names: Names) -> None:
    for group, label in zip(groups, labels):
        twice = np.flatnonzero(np.diff(group) == 0)
        if len(twice):
            shown = stamps.column("", group[twice[:1]])[0]
            raise DataError(
                f"Series {label!r} has more than one row of {names.time} {shown}. Keep one of them, or name the column "
                "that tells series apart with id_col."
            )


def _on_grid(
    group: np.ndarray, part: np.ndarray, calendar: Calendar, label: Any, stamps: Stamps, names: Names
) -> np.ndarray:
    """(T, columns), NaN at steps without a row."""
    positions = calendar.positions(group, int(group[0]))
    off = np.flatnonzero(positions < 0)
    if len(off):
        shown = stamps.column("", group[off[:1]])[0]
        zone = (
            "" if stamps.zone is None else " Days of a zone that changes its clocks are unequal: take it off."
        )
        raise DataError(
            f"Series {label!r}: {names.time} {shown} is not a whole number of steps ({calendar.describe()}) after the "
            f"first row. Bring the rows to one step, or name it with freq.{zone}"
        )
    if positions[-1] >= 50 * len(group) + 1000:
        raise DataError(
            f"Series {label!r} has {len(group)} rows over {positions[-1] + 1} steps of {calendar.describe()}: nearly "
            "all would be missing. Name the step with freq."
        )
    values = np.full((int(positions[-1]) + 1, part.shape[1]), np.nan)
    values[positions] = part
    return values


def _static(
    frame: pl.DataFrame, names: Names, rows: list[np.ndarray], labels: list[Any]
) -> list[tuple[Any, ...]]:
    found = []
    columns = [frame[name] for name in names.static if name in frame.columns]
    for row, label in zip(rows, labels):
        values = []
        for column in columns:
            own = column.gather(row).unique()
            if len(own) > 1:
                raise DataError(
                    f"Column {column.name!r} is static, one value a series. Series {label!r} has {len(own)} of them."
                )
            values.append(own[0])
        found.append(tuple(values))
    return found


def _tell_missing(
    groups: list[np.ndarray], values: list[np.ndarray], labels: list[Any], names: Names
) -> None:
    gaps = np.array([len(v) - len(g) for g, v in zip(groups, values)])
    if gaps.sum():
        worst = labels[int(gaps.argmax())]
        warn_caller(
            f"{int(gaps.sum())} steps have no row, in {int((gaps > 0).sum())} of {len(labels)} series, most of them in "
            f"{worst!r}; they are masked, not filled in."
        )
    for k, name in enumerate([names.target, *names.past, *names.future]):
        missing = np.array([int(np.isnan(v[:, k]).sum()) for v in values]) - gaps
        if missing.sum():
            worst = labels[int(missing.argmax())]
            as_what = "are masked, not filled in" if k == 0 else "count as the mean of the column"
            warn_caller(
                f"{int(missing.sum())} values of {name!r} are missing, in {int((missing > 0).sum())} of {len(labels)} "
                f"series, most of them in {worst!r}; they {as_what}."
            )
