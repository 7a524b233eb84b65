"""Time stamps to whole steps and back: the step between two rows, the season, features of the time of day and year."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError, ModelFileError, bad_parameter
from unspool.saved.fields import Fields

SECOND, HOUR, DAY = 10**6, 3600 * 10**6, 24 * 3600 * 10**6  # microseconds
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": HOUR, "d": DAY, "w": 7 * DAY}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
FORMATS: tuple[str, ...] = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
FORMATS += ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%Y-%m", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%SZ")

#: Name -> period and the number of a stamp (n,) within it, from 0.
FEATURES = ("minute", "hour", "weekday", "day", "week", "month")


@dataclass(frozen=True)
class Stamps:
    """How a column of time stamps was written: kind "int", "date", "datetime" or "text" (of `form`); zone of a
    datetime, or None."""

    kind: str
    form: str = ""
    zone: str | None = None

    def numbers(self, column: pl.Series) -> np.ndarray:
        """(n,) int64: the ints themselves, or microseconds since 1970."""
        if column.null_count():
            row = int(column.is_null().arg_max() or 0)
            raise DataError(f"Column {column.name!r} has no time stamp in row {row}, counted from 0.")
        if self.kind == "int":
            return column.cast(pl.Int64).to_numpy()
        if self.kind == "text":
            return _parsed(column, self.form).cast(pl.Int64).to_numpy()
        return column.cast(pl.Datetime("us", self.zone)).cast(pl.Int64).to_numpy()

    def column(self, name: str, numbers: np.ndarray) -> pl.Series:
        """The stamps as they were written."""
        found = pl.Series(name, numbers, dtype=pl.Int64)
        if self.kind == "int":
            return found
        moments = found.cast(pl.Datetime("us"))
        if self.kind == "text":
            return moments.dt.to_string(self.form)
        if self.kind == "date":
            return moments.cast(pl.Date)
        return (
            moments
            if self.zone is None
            else moments.dt.replace_time_zone("UTC").dt.convert_time_zone(self.zone)
        )

    @classmethod
    def of(cls, column: pl.Series) -> Stamps:
        """How `column` is written; `DataError` where that is no way to write time."""
        kind = column.dtype
        if kind.is_integer():
            return cls("int")
        if kind == pl.Date:
            return cls("date")
        if isinstance(kind, pl.Datetime):
            return cls("datetime", zone=kind.time_zone)
        if kind == pl.String:
            text = column.drop_nulls()
            if len(text) and text.str.contains(r"^-?\d{1,18}$").all():
                return cls("int")
            shown, first = "nothing", -1
            for form in FORMATS if len(text) else ():
                unread = _parsed(text, form, strict=False).is_null()
                at = int(unread.arg_max() or 0)
                if not unread.any():
                    return cls("text", form)
                if at > first:  # what the form that fits longest cannot read
                    shown, first = repr(text[at]), at
            raise DataError(
                f"Column {column.name!r} must hold time stamps: dates, numbers of steps, or texts such as "
                f"'2024-01-31' or '2024-01-31 18:00:00'. Got {shown}. Write all of them in one such form."
            )
        raise DataError(f"Column {column.name!r} must hold time stamps or whole numbers. Got {kind}.")


def _parsed(column: pl.Series, form: str, strict: bool = True) -> pl.Series:
    day = "" if "%d" in form else "-01"
    return (column + day if day else column).str.to_datetime(
        form + ("-%d" if day else ""), strict=strict, time_unit="us", exact=True
    )


@dataclass(frozen=True)
class Calendar:
    """The step of the series. unit: "steps" of ints, "us" (microseconds) or "months"; size: of one step, in it.
    ends: months are told by their last day."""

    unit: str
    size: int
    ends: bool = False

    def positions(self, stamps: np.ndarray, first: int) -> np.ndarray:
        """(n,) int64, steps since the stamp `first`; -1 where a stamp lies between two steps."""
        if self.unit != "months":
            steps, rest = np.divmod(stamps - first, self.size)
            return np.where(rest == 0, steps, -1)
        months, beyond = self._months(stamps)
        start, also = self._months(np.array([first]))
        steps, rest = np.divmod(months - start[0], self.size)
        return np.where((rest == 0) & (beyond == also[0]), steps, -1)

    def stamps(self, first: int, positions: np.ndarray) -> np.ndarray:
        """(n,) int64: the stamps at `positions` steps after `first`."""
        if self.unit != "months":
            return first + positions * self.size
        start, beyond = self._months(np.array([first]))
        months = start[0] + positions * self.size + self.ends
        moments = months.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        return moments + beyond[0]

    def _months(self, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(months since 1970, microseconds after the month's start, or after its end where `ends`)."""
        months = stamps.astype("datetime64[us]").astype("datetime64[M]")
        edge = (months + int(self.ends)).astype("datetime64[us]").astype(np.int64)
        return months.astype(np.int64), stamps - edge

    @property
    def season(self) -> int:
        """Steps of the season that such series usually have; 1 where none is known: of a day, a week, a year."""
        if self.unit == "months":
            return 12 // self.size if 12 % self.size == 0 else 1
        if self.unit == "steps":
            return 1
        for period, least in ((HOUR, 10), (DAY, 2), (7 * DAY, 2)):
            steps, rest = divmod(period, self.size)
            if rest == 0 and steps >= least:
                return steps
        return 52 if self.size == 7 * DAY else 1

    def describe(self) -> str:
        """The step in words."""
        if self.unit == "months":
            return f"{self.size} month{'s' * (self.size > 1)}"
        if self.unit == "steps":
            return str(self.size)
        for name, length in (("week", 7 * DAY), ("day", DAY), ("hour", HOUR), ("minute", 60 * SECOND)):
            if self.size % length == 0:
                count = self.size // length
                return f"{count} {name}{'s' * (count > 1)}"
        return f"{self.size / SECOND:g} s"

    def default_features(self) -> tuple[str, ...]:
        """What `time_features="auto"` stands for."""
        if self.unit == "steps":
            return ()
        if self.unit == "months":
            return ("month",) if self.season > 1 else ()
        if self.size < HOUR:
            return ("minute", "hour", "weekday")
        return ("hour", "weekday") if self.size < DAY else ("weekday",) if self.size < 7 * DAY else ("week",)

    def features(self, names: tuple[str, ...], stamps: np.ndarray) -> np.ndarray:
        """(n, 2 a name): sine and cosine of each cycle."""
        columns = []
        moments = stamps.astype("datetime64[us]")
        day, month = moments.astype("datetime64[D]"), moments.astype("datetime64[M]")
        for name in names:
            within, period = {
                "minute": lambda: (stamps % HOUR / HOUR, 1),
                "hour": lambda: (stamps % DAY / DAY, 1),
                "weekday": lambda: ((day.astype(np.int64) + 3) % 7, 7),
                "day": lambda: ((day - month.astype("datetime64[D]")).astype(np.int64), 31),
                "week": lambda: (
                    (day - moments.astype("datetime64[Y]").astype("datetime64[D]")).astype(int),
                    365.25,
                ),
                "month": lambda: (month.astype(np.int64) % 12, 12),
            }[name]()
            angle = 2 * np.pi * np.asarray(within, float) / period
            columns += [np.sin(angle), np.cos(angle)]
        return np.stack(columns, 1) if columns else np.zeros((len(stamps), 0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"unit": self.unit, "size": self.size, "ends": self.ends}

    @classmethod
    def from_fields(cls, fields: Fields) -> Calendar:
        """The calendar whose `to_dict` was saved."""
        size = fields.get("size", int)
        if size < 1:
            raise ModelFileError("the step of the calendar must be positive.")
        return cls(fields.choice("unit", ("steps", "us", "months")), size, fields.get("ends", bool))


def parse_frequency(value: Any, stamps: Stamps) -> Calendar:
    """`freq`: an int for stamps that are ints; otherwise such as "15m", "1h", "1d", "1w", "1mo", "1q", "1y"."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1:
        if stamps.kind == "int":
            return Calendar("steps", int(value))
        bad_parameter("Forecaster", "freq", "such as '1h' for stamps of time", value)
    found = re.fullmatch(r"(\d+)(s|m|h|d|w|mo|q|y)", value) if isinstance(value, str) else None
    if found is None or int(found[1]) < 1:
        bad_parameter(
            "Forecaster", "freq", "None, an int, or such as '15m', '1h', '1d', '1w', '1mo', '1q', '1y'", value
        )
    if stamps.kind == "int":
        bad_parameter("Forecaster", "freq", "an int for stamps that are whole numbers", value)
    count, unit = int(found[1]), found[2]
    if unit in _MONTHS:
        return Calendar("months", count * _MONTHS[unit])
    return Calendar("us", count * _UNITS[unit])


def infer(stamps: Stamps, groups: list[np.ndarray]) -> Calendar:
    """The calendar of series of sorted, different stamps: the most frequent distance, in months where every stamp has
    one day of the month (or its last). `DataError` where no series has two rows."""
    gaps = np.concatenate([np.diff(g) for g in groups]) if groups else np.zeros(0, np.int64)
    if not len(gaps):
        raise DataError("No series has two rows, so the step between rows is unknown. Name it: freq='1d'.")
    sizes, counts = np.unique(gaps, return_counts=True)
    common = int(sizes[counts.argmax()])
    if stamps.kind == "int":
        return Calendar("steps", common)
    if common >= 28 * DAY:
        for ends in (False, True):
            calendar = Calendar("months", 1, ends)
            parts = [calendar._months(g) for g in groups]
            if all(len(np.unique(beyond)) == 1 for _, beyond in parts):
                steps, times = np.unique(np.concatenate([np.diff(m) for m, _ in parts]), return_counts=True)
                return Calendar("months", int(steps[times.argmax()]), ends)
    return Calendar("us", common)


def with_ends(calendar: Calendar, groups: list[np.ndarray]) -> Calendar:
    """A calendar of months, told by their last day where every stamp is one, and not all are the 28th."""
    if calendar.unit != "months":
        return calendar
    ending, stamps = Calendar("months", calendar.size, True), np.concatenate(groups)
    late = (Calendar("months", 1)._months(stamps)[1] >= 28 * DAY).any()
    return ending if late and (ending._months(stamps)[1] >= -DAY).all() else calendar
