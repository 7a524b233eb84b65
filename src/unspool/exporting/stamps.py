"""Time stamps as numbers of the cycles that they lie in, as `Calendar.features` makes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unspool.exporting.graph import DOUBLE, Graph
from unspool.forecasting.calendar import DAY, HOUR


def time_features(g: Graph, names: tuple[str, ...], stamps: Any) -> Any:
    """(B, T, 2 a name) float64; stamps (B, T) int64, microseconds since 1970."""
    days = _floor(g, stamps, DAY)
    civil = _civil(g, days) if {"day", "week", "month"} & {*names} else {}
    made = {
        "minute": lambda: (_share(g, stamps, HOUR), 1),
        "hour": lambda: (_share(g, stamps, DAY), 1),
        "weekday": lambda: (_mod(g, g.op("Add", days, np.int64(3)), 7), 7),
        "day": lambda: (civil["day"], 31),
        "week": lambda: (civil["of_year"], 365.25),
        "month": lambda: (civil["month"], 12),
    }
    columns = []
    for name in names:
        within, period = made[name]()
        angle = g.op("Mul", g.cast(within, DOUBLE), np.float64(2 * np.pi / period))
        for moved in (0.0, math.pi / 2):  # a runtime has Sin of float64, not always Cos
            column = g.op("Sin", g.op("Add", angle, np.float64(moved)))
            columns.append(g.op("Unsqueeze", column, g.ints(2)))
    return g.op("Concat", *columns, axis=2)


def _mod(g: Graph, value: Any, by: int) -> Any:
    """Of the sign of `by`."""
    return g.op("Mod", value, np.int64(by))


def _floor(g: Graph, value: Any, by: int) -> Any:
    return g.op("Div", g.op("Sub", value, _mod(g, value, by)), np.int64(by))


def _share(g: Graph, stamps: Any, of: int) -> Any:
    return g.op("Div", g.cast(_mod(g, stamps, of), DOUBLE), np.float64(of))


def _civil(g: Graph, days: Any) -> dict[str, Any]:
    """Place of the day in its month, in its year, and of the month, from 0; days since 1970.

    Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years begin in March, so that the leap
    day is their last; an era has 400 of them.
    """

    def number(kind: str, a: Any, b: int) -> Any:
        return g.op(kind, a, np.int64(b))

    of_era = _mod(g, number("Add", days, 719468), 146097)
    leaps = g.op("Sub", number("Div", of_era, 36524), number("Div", of_era, 1460))
    leaps = g.op("Sub", leaps, number("Div", of_era, 146096))
    year = number("Div", g.op("Add", of_era, leaps), 365)  # of the era, 0 to 399
    before = g.op("Add", number("Mul", year, 365), number("Div", year, 4))
    of_year = g.op("Sub", of_era, g.op("Sub", before, number("Div", year, 100)))  # since 1 March
    month = number("Div", number("Add", number("Mul", of_year, 5), 2), 153)  # 0: March
    first = number("Div", number("Add", number("Mul", month, 153), 2), 5)
    january = number("GreaterOrEqual", month, 10)
    fourth = number("Equal", _mod(g, year, 4), 0)
    century = number("Equal", _mod(g, year, 100), 0)
    leap = g.op("And", fourth, g.op("Or", g.op("Not", century), number("Equal", year, 0)))
    until_march = g.op("Add", g.cast(leap, "INT64"), np.int64(59))
    return {
        "day": g.op("Sub", of_year, first),
        "month": _mod(g, number("Add", month, 2), 12),
        "of_year": g.op("Where", january, number("Sub", of_year, 306), g.op("Add", of_year, until_march)),
    }
