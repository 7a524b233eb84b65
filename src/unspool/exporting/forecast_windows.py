"""The windows of a forecaster as ONNX, as `Preparation` and `Windows` make them of whole series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.exporting.graph import BOOL, DOUBLE, FLOAT, INT64, ML_DOMAIN, Graph
from unspool.forecasting.prepare import Preparation


@dataclass(frozen=True)
class Window:
    """The last steps of series y (B, T) float64, `size` at most, a multiple of `unit` of them; left-aligned.

    at (B, W): their places in the series. counts (B,): steps of the series. sizes (B,): of those, steps read. inside
    (B, W): whether a step is one of them. y (B, W) float64, in units of the input. observed (B, W) bool. usable (B,):
    whether the series can be forecast.
    """

    size: int
    at: Any
    counts: Any
    sizes: Any
    inside: Any
    y: Any
    observed: Any
    usable: Any


def cut(g: Graph, y: Any, lengths: Any, size: int, unit: int) -> Window:
    """The window of each row."""
    time = g.sizes(y, 1)
    counts = g.op("Min", g.op("Max", lengths, g.ints(0)), time)
    sizes = g.op("Min", g.op("Sub", counts, g.op("Mod", counts, g.ints(unit))), g.ints(size))
    steps = np.arange(size)[None]
    at = g.op("Add", _column(g, g.op("Sub", counts, sizes)), steps)
    at = g.op("Min", at, g.op("Sub", time, g.ints(1)))
    inside = g.op("Less", steps, _column(g, sizes))
    values = g.op("GatherElements", y, at, axis=1)
    observed = g.op("And", inside, g.op("Not", g.op("IsNaN", values)))
    late = g.op("GreaterOrEqual", places(g, y), _column(g, g.op("Sub", counts, g.ints(size))))
    some = g.op("ReduceMax", g.cast(g.op("And", seen(g, y, counts), late), INT64), g.ints(1), keepdims=0)
    usable = g.op("And", g.cast(some, BOOL), g.op("Greater", sizes, g.ints(0)))
    return Window(size, at, counts, sizes, inside, values, observed, usable)


def places(g: Graph, y: Any) -> Any:
    """(1, T): 0, 1, ..."""
    end = g.op("Squeeze", g.sizes(y, 1), g.ints(0))
    return g.op("Unsqueeze", g.op("Range", np.int64(0), end, np.int64(1)), g.ints(0))


def seen(g: Graph, y: Any, counts: Any) -> Any:
    """(B, T) bool: steps of the series that were observed."""
    return g.op("And", g.op("Less", places(g, y), _column(g, counts)), g.op("Not", g.op("IsNaN", y)))


def of_steps(g: Graph, window: Window, values: Any) -> Any:
    """(B, W, K): further columns (B, T, K) at the steps of the window."""
    return g.op("GatherND", values, g.op("Unsqueeze", window.at, g.ints(2)), batch_dims=1)


def scales(g: Graph, preparation: Preparation, place: Any, y: Any, counts: Any) -> tuple[Any, Any]:
    """(offset, scale), (B, 1) or (1, 1) float64 each, as `Preparation.scales_of`; place (B,): of the series among the
    fitted ones, -1 for another; None where there is one series."""
    fitted = preparation.offsets, preparation.scales
    if place is None:
        return tuple(g.constant(np.array([[numbers[0]]])) for numbers in fitted)
    there = g.op("Max", place, g.ints(0))
    known = g.op("GreaterOrEqual", _column(g, place), np.int64(0))
    own = _own_scales(g, preparation.scaler, y, seen(g, y, counts))
    offset, scale = (
        g.op("Where", known, _column(g, g.op("Gather", numbers, there, axis=0)), new)
        for numbers, new in zip(fitted, own)
    )
    return offset, scale


def _own_scales(g: Graph, scaler: str, y: Any, observed: Any) -> tuple[Any, Any]:
    """Of series that were not fitted, by all their steps."""
    zero, one = g.constant(np.zeros((1, 1))), g.constant(np.ones((1, 1)))
    values = g.op("Where", observed, y, zero)
    count = g.op("Max", _sum(g, g.cast(observed, DOUBLE)), one)
    size = g.op("Abs", values)
    if scaler == "mean":
        mean = g.op("Div", _sum(g, size), count)
        return zero, g.op("Where", g.op("Equal", mean, zero), one, mean)
    mean = g.op("Div", _sum(g, values), count)
    apart = g.op("Where", observed, g.op("Sub", values, mean), zero)
    deviation = g.op("Sqrt", g.op("Div", _sum(g, g.op("Mul", apart, apart)), count))
    largest = g.op("Max", g.op("ReduceMax", size, g.ints(1), keepdims=1), one)
    constant = g.op("LessOrEqual", deviation, g.op("Mul", largest, np.float64(1e-12)))
    return mean, g.op("Where", constant, one, deviation)


@dataclass(frozen=True)
class Level:
    """What is taken off a window: level and spread (B, 1) float64, and base (B, 1 or horizon), put back."""

    level: Any
    spread: Any
    base: Any


def level_of(g: Graph, window: Window, y: Any, kind: str, season: int, horizon: int) -> Level:
    """As `Windows` has it; y (B, W) float64, scaled."""
    zero, one = g.constant(np.zeros((1, 1))), g.constant(np.ones((1, 1)))
    if kind == "none":
        return Level(zero, one, zero)
    values = g.op("Where", window.observed, y, zero)
    if kind == "window":
        count = g.op("Max", _sum(g, g.cast(window.observed, DOUBLE)), one)
        mean = g.op("Div", _sum(g, values), count)
        squares = g.op("Div", _sum(g, g.op("Mul", values, values)), count)
        spread = g.op("Sqrt", g.op("Max", g.op("Sub", squares, g.op("Mul", mean, mean)), zero))
        spread = g.op("Where", g.op("Greater", spread, np.float64(1e-6)), spread, one)
        return Level(mean, spread, mean)
    steps = np.arange(1, window.size + 1)
    last = g.op("Where", window.observed, steps[None], np.int64(0))
    last = g.op("ReduceMax", last, g.ints(1), keepdims=1)  # (B, 1): counted from 1, 0 where there is none
    level = _value_at(g, values, last, zero)
    if kind == "last":
        return Level(level, one, level)
    count = min(season, horizon)
    back = season - np.arange(count)  # steps from the end to a step ahead's place in the season before
    to_end = g.op("Sub", g.op("Unsqueeze", _column(g, window.sizes), g.ints(2)), (steps - 1)[None, :, None])
    same = g.op("Equal", g.op("Mod", g.op("Sub", to_end, back[None, None]), np.int64(season)), np.int64(0))
    found = g.op("And", same, g.op("Unsqueeze", window.observed, g.ints(2)))
    found = g.op("Where", found, steps[None, :, None], np.int64(0))
    found = g.op("ReduceMax", found, g.ints(1), keepdims=0)  # (B, count)
    base = _value_at(g, values, found, level)
    return Level(level, one, g.op("Gather", base, np.arange(horizon) % season, axis=1))


def _value_at(g: Graph, values: Any, place: Any, other: Any) -> Any:
    """values (B, W) at `place` (B, n), counted from 1; `other` where it is 0."""
    at = g.op("Max", g.op("Sub", place, g.ints(1)), g.ints(0))
    found = g.op("GatherElements", values, at, axis=1)
    return g.op("Where", g.op("Equal", place, np.int64(0)), other, found)


def place_of(g: Graph, ids: list[Any], series: Any) -> Any:
    """(B,) int64: the place of each id among `ids`, -1 for another."""
    kind = "keys_strings" if isinstance(ids[0], str) else "keys_int64s"
    known = {kind: ids, "values_int64s": list(range(len(ids))), "default_int64": -1}
    return g.op("LabelEncoder", series, domain=ML_DOMAIN, **known)


def filled(g: Graph, values: Any, pairs: list[tuple[float, float]]) -> Any:
    """Covariates (B, T, K) float64, scaled by their (mean, deviation), 0 where missing."""
    mean, scale = (np.array([pair[i] for pair in pairs]) for i in range(2))
    scaled = g.op("Div", g.op("Sub", values, mean), scale)
    return g.op("Where", g.op("IsNaN", scaled), np.float64(0), scaled)


def network_input(g: Graph, window: Window, y: Any, level: Level, beside: list[Any]) -> Any:
    """(B, W, features) float32: what the network reads; beside: (B, W, ·) each."""
    observed = g.cast(window.observed, FLOAT)
    values = g.cast(g.op("Where", window.observed, y, np.float64(0)), FLOAT)
    values = g.op("Div", g.op("Sub", values, g.cast(level.level, FLOAT)), g.cast(level.spread, FLOAT))
    values = g.op("Mul", values, observed)
    parts = [g.op("Unsqueeze", part, g.ints(2)) for part in (values, observed)]
    return g.op("Concat", *parts, *[g.cast(part, FLOAT) for part in beside], axis=2)


def _sum(g: Graph, values: Any) -> Any:
    return g.op("ReduceSum", values, g.ints(1), keepdims=1)


def _column(g: Graph, values: Any) -> Any:
    """(B,) as (B, 1)."""
    return g.op("Unsqueeze", values, g.ints(1))
