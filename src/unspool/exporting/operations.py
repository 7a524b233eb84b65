"""The operations of a cell's program as ONNX operators: one entry of `OPERATIONS` an operation.

Rows are (N, width); operands of width 1 are spread by ONNX's own rules. Edges (NaN, infinities, ties) are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unspool.errors import EngineError
from unspool.exporting.graph import FLOAT, INT64, Graph
from unspool.program.ir import Node
from unspool.program.patterns import Contraction, Pattern

Build = Callable[..., Any]
OPERATIONS: dict[str, Build] = {}
CONDITIONS: dict[str, Build] = {  # comparisons, as ONNX has them: bool
    "gt": lambda g, a, b: g.op("Greater", a, b),
    "ge": lambda g, a, b: g.op("GreaterOrEqual", a, b),
    "lt": lambda g, a, b: g.op("Less", a, b),
    "le": lambda g, a, b: g.op("LessOrEqual", a, b),
    "eq": lambda g, a, b: g.op("Equal", a, b),
    "ne": lambda g, a, b: g.op("Not", g.op("Equal", a, b)),
}

_SAME = """neg Neg abs Abs exp Exp log Log tanh Tanh sigmoid Sigmoid sqrt Sqrt relu Relu softplus Softplus erf Erf
sin Sin cos Cos tan Tan asin Asin acos Acos atan Atan sinh Sinh cosh Cosh asinh Asinh acosh Acosh atanh Atanh
floor Floor ceil Ceil round Round sign Sign stop Identity add Add sub Sub mul Mul div Div max Max
min Min pow Pow""".split()
for _name, _kind in zip(_SAME[::2], _SAME[1::2]):
    OPERATIONS[_name] = lambda g, *args, kind=_kind: g.op(kind, *args)
for _name, _kind in (("sum", "ReduceSum"), ("amax", "ReduceMax")):
    OPERATIONS[_name] = lambda g, a, kind=_kind: g.op(kind, a, g.ints(1), keepdims=1)


def operation(name: str) -> Callable[[Build], Build]:
    """Registers (graph, *operands) -> value."""

    def register(build: Build) -> Build:
        OPERATIONS[name] = build
        return build

    return register


def lowered(g: Graph, node: Node, args: list[Any]) -> Any:
    """The value of a node other than a leaf, a product or a shape; `EngineError` for one that ONNX has no form of."""
    build = OPERATIONS.get(node.op)
    if build is None:
        raise EngineError(f"The operation {node.op!r} of the cell's step has no form in ONNX.")
    return build(g, *args)


OPERATIONS["through"] = lambda g, value, a, factor: value
OPERATIONS["exp2"] = lambda g, a: g.op("Pow", g.number(2.0), a)
OPERATIONS["log2"] = lambda g, a: g.op("Mul", g.op("Log", a), g.number(1 / math.log(2)))
OPERATIONS["log10"] = lambda g, a: g.op("Mul", g.op("Log", a), g.number(1 / math.log(10)))
OPERATIONS["rsqrt"] = lambda g, a: g.op("Reciprocal", g.op("Sqrt", a))
OPERATIONS["erfc"] = lambda g, a: g.op("Sub", g.number(1.0), g.op("Erf", a))
OPERATIONS["trunc"] = lambda g, a: g.op("Mul", g.op("Sign", a), g.op("Floor", g.op("Abs", a)))
OPERATIONS["clamp"] = lambda g, a, low, high: g.op("Min", g.op("Max", a, low), high)


@operation("expm1")
def _expm1(g: Graph, a: Any) -> Any:
    """Near 0 by 2 sinh(a/2) exp(a/2), which keeps its digits there."""
    half = g.op("Mul", a, g.number(0.5))
    near = g.op("Mul", g.op("Mul", g.number(2.0), g.op("Sinh", half)), g.op("Exp", half))
    far = g.op("Sub", g.op("Exp", a), g.number(1.0))
    return g.op("Where", g.op("Less", g.op("Abs", a), g.number(0.5)), near, far)


@operation("log1p")
def _log1p(g: Graph, a: Any) -> Any:
    """Near 0 by log(u) a / (u - 1), u = 1 + a (Kahan): the error of u is in both."""
    u = g.op("Add", a, g.number(1.0))
    log, apart = g.op("Log", u), g.op("Sub", u, g.number(1.0))
    near = g.op("Mul", log, g.op("Div", a, apart))
    near = g.op("Where", g.op("Equal", apart, g.number(0.0)), a, near)
    return g.op("Where", g.op("Less", g.op("Abs", a), g.number(0.5)), near, log)


@operation("atan2")
def _atan2(g: Graph, y: Any, x: Any) -> Any:
    """atan(|small| / |large|), turned into the octant of (x, y). -0 counts as 0."""
    ay, ax = g.op("Abs", y), g.op("Abs", x)
    large = g.op("Max", ay, ax)
    safe = g.op("Where", g.op("Equal", large, g.number(0.0)), g.number(1.0), large)
    both = g.op("And", g.op("IsInf", ay), g.op("IsInf", ax))
    ratio = g.op("Where", both, g.number(1.0), g.op("Div", g.op("Min", ay, ax), safe))
    angle = g.op("Atan", ratio)
    angle = g.op("Where", g.op("Greater", ay, ax), g.op("Sub", g.number(math.pi / 2), angle), angle)
    angle = g.op("Where", g.op("Less", x, g.number(0.0)), g.op("Sub", g.number(math.pi), angle), angle)
    return g.op("Where", g.op("Less", y, g.number(0.0)), g.op("Neg", angle), angle)


@operation("hypot")
def _hypot(g: Graph, a: Any, b: Any) -> Any:
    """Scaled by the larger one, so that squares stay in range."""
    a, b = g.op("Abs", a), g.op("Abs", b)
    large, small = g.op("Max", a, b), g.op("Min", a, b)
    plain = g.op("Or", g.op("Equal", large, g.number(0.0)), g.op("IsInf", large))
    ratio = g.op("Div", small, g.op("Where", plain, g.number(1.0), large))
    length = g.op("Mul", large, g.op("Sqrt", g.op("Add", g.op("Mul", ratio, ratio), g.number(1.0))))
    return g.op("Where", plain, large, length)


@operation("fmod")
def _fmod(g: Graph, a: Any, b: Any) -> Any:
    return g.op("Mod", a, b, fmod=1)


@operation("remainder")
def _remainder(g: Graph, a: Any, b: Any) -> Any:
    """Of the sign of b."""
    rest, zero = g.op("Mod", a, b, fmod=1), g.number(0.0)
    other_sign = g.op("Xor", g.op("Less", rest, zero), g.op("Less", b, zero))
    there = g.op("Not", g.op("Equal", rest, zero))
    return g.op("Where", g.op("And", there, other_sign), g.op("Add", rest, b), rest)


@operation("logaddexp")
def _logaddexp(g: Graph, a: Any, b: Any) -> Any:
    """max + log(1 + exp(-|a - b|)); equal ones, infinities among them, are log 2 larger."""
    apart = g.op("Neg", g.op("Abs", g.op("Sub", a, b)))
    found = g.op("Add", g.op("Max", a, b), _log1p(g, g.op("Exp", apart)))
    return g.op("Where", g.op("Equal", a, b), g.op("Add", a, g.number(math.log(2))), found)


@operation("xlogy")
def _xlogy(g: Graph, a: Any, b: Any) -> Any:
    """0 where a is 0, unless b is NaN."""
    none = g.op("And", g.op("Equal", a, g.number(0.0)), g.op("Equal", b, b))
    return g.op("Where", none, g.number(0.0), g.op("Mul", a, g.op("Log", b)))


def truth(g: Graph, value: Any) -> Any:
    """A number as bool: not 0."""
    return g.op("Not", g.op("Equal", value, g.number(0.0)))


def compared(g: Graph, condition: Any) -> Any:
    """bool as 0 or 1."""
    return g.cast(condition, FLOAT)


# --- rows seen as several axes; `rows`: a (1,) value, their number


def take(g: Graph, a: Any, pattern: Pattern) -> Any:
    """out[i] = a[i-th place]."""
    return g.op("Gather", a, pattern.places().astype(np.int64), axis=1)


def put(g: Graph, a: Any, pattern: Pattern, width: int, rows: Any) -> Any:
    """out[i-th place] += a[i], of zeros (rows, width)."""
    zeros = g.op("Expand", g.number(0.0), g.shape(rows, width))
    places = g.op("Expand", pattern.places().astype(np.int64)[None], g.shape(rows, pattern.count))
    return g.op("ScatterElements", zeros, places, a, axis=1, reduction="add")


def grouped_max(g: Graph, a: Any, groups: int) -> Any:
    """The largest number of each of `groups` equal parts."""
    parts = g.op("Reshape", a, g.ints(0, groups, -1))
    return g.op("ReduceMax", parts, g.ints(2), keepdims=0)


def order(g: Graph, a: Any, how: tuple[int, int, int, int]) -> Any:
    """The places of the first numbers of each group, in order; ONNX leaves equal numbers the order they stand in."""
    size, kept, largest, _ = how
    groups = g.op("Reshape", a, g.ints(0, -1, size))
    _, places = g.several("TopK", 2, groups, g.ints(kept), axis=2, largest=largest, sorted=1)
    return g.op("Reshape", g.cast(places, FLOAT), g.ints(0, -1))


def pick(g: Graph, a: Any, places: Any) -> Any:
    """out[i] = a[the i-th of `places`], rows of both."""
    return g.op("GatherElements", a, g.cast(places, INT64), axis=1)


def drop(g: Graph, a: Any, places: Any, width: int, rows: Any) -> Any:
    """out[the i-th of `places`] += a[i], of zeros (rows, width)."""
    zeros = g.op("Expand", g.number(0.0), g.shape(rows, width))
    return g.op("ScatterElements", zeros, g.cast(places, INT64), a, axis=1, reduction="add")


def contract(g: Graph, a: Any, b: Any, how: Contraction) -> Any:
    """out[n, i, j] = Σ_k a[n, i, k] b[n, k, j]."""
    n, i, j, k = how.sizes

    def seen(row: Any, sizes: tuple[int, ...], steps: tuple[int, ...]) -> Any:
        places = Pattern(0, tuple(zip(sizes, steps))).places()
        if not np.array_equal(places, np.arange(len(places))):
            row = g.op("Gather", row, places.astype(np.int64), axis=1)
        return g.op("Reshape", row, g.ints(0, *sizes))

    product = g.op("MatMul", seen(a, (n, i, k), how.a), seen(b, (n, k, j), how.b))
    flat = g.op("Reshape", product, g.ints(0, n * i * j))
    places = Pattern(0, tuple(zip((n, i, j), how.out))).places()
    back = np.argsort(places)
    if np.array_equal(back, np.arange(len(back))):
        return flat
    return g.op("Gather", flat, back.astype(np.int64), axis=1)
