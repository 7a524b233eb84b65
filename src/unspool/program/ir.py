"""The program of a cell: one step as a short list of row operations in single-assignment form.

A value is a row of `width` numbers for each sequence. Operands of width 1 are spread over the row.
Operations (native/abi.h lists the same names):

    leaves     x, state, vector (sum of slices of parameters), const, adjoint, output_grad, prologue_grad; seed, the
               gradient of a Function while its backward is followed (`custom.py`)
    products   matmul(src) or matmul(src, init): src @ matrix (+ init)
    each       add sub mul div max min gt ge lt le eq ne where fma, functions of one and of two values by their names in
               torch; clamp(a, low, high); dtanh(g, y) = g (1 - y²); dsigmoid(g, y) = g y (1 - y);
               copy (spreads width 1), stop (a copy that no gradient passes); through(y, a, d) = y, whose gradient g
               goes to y, and as g d to a
    rows       sum, mean, amax, dot, rstd(a, mean, ε) = 1 / sqrt(mean((a - mean)²) + ε): (width) -> 1
    both       norm(a, m, s) = (a - m) s, where m and s are the mean and the rstd of a; gradients know that
    shape      slice, cat
    axes       take, put, gmax, order, pick, drop, contract: of rows seen as several axes; their `attr` says how
               (`patterns.py`)
"""

from __future__ import annotations

import contextlib
import math
import operator
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from unspool.program.patterns import Contraction, Pattern

UNARY = frozenset(
    """neg abs exp expm1 exp2 log log1p log2 log10 tanh sigmoid sqrt rsqrt relu softplus erf erfc sin cos tan asin acos
    atan sinh cosh asinh acosh atanh floor ceil round trunc sign copy stop""".split()
)
BINARY = frozenset(
    """add sub mul div max min gt ge lt le eq ne dtanh dsigmoid pow atan2 hypot fmod remainder logaddexp
    xlogy""".split()
)
TERNARY = frozenset(["where", "fma", "clamp", "through"])
ROWS = frozenset("sum mean amax dot rstd".split())
AXES = frozenset("take put gmax order pick drop contract".split())
EACH = UNARY | BINARY | TERNARY
LEAVES = frozenset(["x", "state", "vector", "const", "adjoint", "output_grad", "prologue_grad", "seed"])
COMPARISONS = frozenset("gt ge lt le eq ne".split())

TIES = ("stable", "topk", "topk unsorted")  # how equal numbers stand in an `order`; native/axes.h

LOCK = threading.RLock()  # around everything that adds nodes to a program's graph

# What a value depends on.
ON_X, ON_STATE, ON_GRADIENT = 1, 2, 4

_FOLD: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "sqrt": math.sqrt,
    **{name: (lambda a, b, name=name: float(getattr(operator, name)(a, b))) for name in COMPARISONS},
}


@dataclass(frozen=True)
class Matrix:
    """A block of a parameter: rows, columns as half-open ranges, seen as (inner, width), maybe transposed."""

    source: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    transposed: bool

    @property
    def inner(self) -> int:
        low, high = self.columns if self.transposed else self.rows
        return high - low

    @property
    def width(self) -> int:
        low, high = self.rows if self.transposed else self.columns
        return high - low

    def take(self, inner: tuple[int, int] | None = None, width: tuple[int, int] | None = None) -> Matrix:
        """The block of this block with the given ranges of inner and width."""
        down, across = (width, inner) if self.transposed else (inner, width)

        def shift(outer: tuple[int, int], part: tuple[int, int] | None) -> tuple[int, int]:
            return outer if part is None else (outer[0] + part[0], outer[0] + part[1])

        return Matrix(self.source, shift(self.rows, down), shift(self.columns, across), self.transposed)

    @property
    def t(self) -> Matrix:
        return Matrix(self.source, self.rows, self.columns, not self.transposed)


@dataclass(frozen=True)
class Node:
    op: str
    args: tuple[int, ...]
    width: int
    attr: Any = None


class Graph:
    """Builds nodes; equal nodes are one; arithmetic on constants is done at once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.depends: list[int] = []
        self._known: dict[Node, int] = {}

    def node(self, op: str, args: Iterable[int] = (), width: int = 1, attr: Any = None) -> int:
        made = Node(op, tuple(args), width, attr)
        if made not in self._known:
            self._known[made] = len(self.nodes)
            self.nodes.append(made)
            own = {"x": ON_X, "state": ON_STATE}.get(op, 0)
            if op in ("adjoint", "output_grad", "prologue_grad"):
                own = ON_GRADIENT
            for a in made.args:
                own |= self.depends[a]
            self.depends.append(own)
        return self._known[made]

    def width(self, value: int) -> int:
        return self.nodes[value].width

    def const(self, value: float) -> int:
        return self.node("const", (), 1, float(value))

    def constant(self, value: int) -> float | None:
        node = self.nodes[value]
        return node.attr if node.op == "const" else None

    def each(self, op: str, *args: int) -> int:
        """An elementwise operation; `copy` operands of width-1 values are read as width 1."""
        consts = [self.constant(a) for a in args]
        if op in _FOLD and all(c is not None for c in consts):
            with contextlib.suppress(ArithmeticError, ValueError):  # 1 / 0 is for the tape: it gives inf
                return self.const(_FOLD[op](*consts))
        if op == "add" and 0.0 in consts and self._keeps_width(args, 1 - consts.index(0.0)):
            return args[1 - consts.index(0.0)]
        if op == "mul" and 1.0 in consts and self._keeps_width(args, 1 - consts.index(1.0)):
            return args[1 - consts.index(1.0)]
        if op == "where" and consts[0] is not None and self._keeps_width(args, 1 if consts[0] else 2):
            return args[1 if consts[0] else 2]
        width = max(self.width(a) for a in args)
        narrow = tuple(self._unspread(a) for a in args)
        if op != "copy" and any(self.width(a) == width for a in narrow):
            args = narrow
        return self.node(op, args, width)

    def stopped(self, value: int) -> int:
        """The value without a gradient."""
        made = self.nodes[value]
        return value if made.op in COMPARISONS or made.op in ("stop", "const") else self.each("stop", value)

    def _keeps_width(self, args: tuple[int, ...], kept: int) -> bool:
        return self.width(args[kept]) >= max(self.width(a) for a in args)

    def _unspread(self, value: int) -> int:
        node = self.nodes[value]
        return node.args[0] if node.op == "copy" and self.width(node.args[0]) == 1 else value

    def spread(self, value: int, width: int) -> int:
        return value if self.width(value) == width else self.node("copy", (value,), width)

    def row(self, op: str, *args: int) -> int:
        return self.node(op, args, 1)

    def matmul(self, source: int, matrix: Matrix, init: int | None = None) -> int:
        return self.node("matmul", (source,) if init is None else (source, init), matrix.width, matrix)

    def slice(self, value: int, start: int, stop: int) -> int:
        node = self.nodes[value]
        if start == 0 and stop == node.width:
            return value
        if node.op == "slice":
            return self.slice(node.args[0], node.attr[0] + start, node.attr[0] + stop)
        if node.op == "vector":
            return self.vector(((s, first + start, first + stop) for s, first, _ in node.attr), stop - start)
        if node.op == "copy" and self.width(node.args[0]) == 1:
            return self.spread(node.args[0], stop - start)
        if node.op == "cat":
            parts, at = [], 0
            for arg in node.args:
                low, high = max(start, at), min(stop, at + self.width(arg))
                if low < high:
                    parts.append(self.slice(arg, low - at, high - at))
                at += self.width(arg)
            return self.cat(parts)
        return self.node("slice", (value,), stop - start, (start, stop))

    def cat(self, parts: list[int]) -> int:
        if len(parts) == 1:
            return parts[0]
        made = [self.nodes[p] for p in parts]
        if all(n.op == "slice" and n.args == made[0].args for n in made) and all(
            a.attr[1] == b.attr[0] for a, b in pairwise(made)
        ):
            return self.slice(made[0].args[0], made[0].attr[0], made[-1].attr[1])
        return self.node("cat", parts, sum(self.width(p) for p in parts))

    def take(self, value: int, pattern: Pattern) -> int:
        """out[i] = value[i-th place of `pattern`]; a slice or a spread number where it is one."""
        pattern, width = pattern.merged(), pattern.count
        node = self.nodes[value]
        if node.op == "copy" and self.width(node.args[0]) == 1:
            return self.spread(node.args[0], width)
        if pattern.is_range():
            return self.slice(value, pattern.offset, pattern.offset + width)
        if not any(stride for _, stride in pattern.axes):
            return self.spread(self.slice(value, pattern.offset, pattern.offset + 1), width)
        if node.op == "take":
            both = pattern.after(node.attr)
            if both is not None:
                return self.take(node.args[0], both)
        return self.node("take", (value,), width, pattern)

    def put(self, value: int, width: int, pattern: Pattern) -> int:
        """The adjoint of `take`: out[i-th place of `pattern`] += value[i], of a row of zeros of `width`."""
        pattern = pattern.merged()
        inverse = pattern.inverse(width)
        if inverse is not None:
            return self.take(value, inverse)
        if pattern.is_range() or not any(stride for _, stride in pattern.axes):
            part = value if pattern.is_range() else self.row("sum", value)
            after = width - pattern.offset - self.width(part)
            ends = [self.spread(self.const(0.0), n) if n else None for n in (pattern.offset, after)]
            return self.cat([p for p in (ends[0], part, ends[1]) if p is not None])
        return self.node("put", (value,), width, pattern)

    def largest(self, value: int, groups: int) -> int:
        """The largest number of each of `groups` equal parts that lie one after the other."""
        if groups == 1:
            return self.row("amax", value)
        return self.node("gmax", (value,), groups, (self.width(value) // groups,))

    def order(self, value: int, groups: int, kept: int, largest: bool, ties: str) -> int:
        """The places of the first `kept` numbers of each of `groups` equal parts, in order (native/axes.h)."""
        size = self.width(value) // groups
        return self.node("order", (value,), groups * kept, (size, kept, int(largest), TIES.index(ties)))

    def pick(self, value: int, places: int) -> int:
        """out[i] = value[the i-th of `places`], which are values themselves."""
        return self.node("pick", (value, places), self.width(places), (self.width(value),))

    def drop(self, value: int, places: int, width: int) -> int:
        """out[the i-th of `places`] += value[i], of a row of zeros of `width`."""
        return self.node("drop", (value, places), width, (self.width(places),))

    def contraction(self, a: int, b: int, how: Contraction) -> int:
        """Of dense rows; an operand whose axes changed places is read where it was."""
        n, i, j, k = how.sizes
        if n * i * j * k == 1:
            return self.each("mul", a, b)
        (a, steps_a), (b, steps_b) = self._dense(a, (n, i, k)), self._dense(b, (n, k, j))
        return self.contract(a, b, Contraction(how.sizes, how.out, steps_a, steps_b))

    def _dense(self, value: int, sizes: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
        """The node to read for a dense row of these axes, and their strides there."""
        node = self.nodes[value]
        if node.op == "take" and node.attr.inverse(self.width(node.args[0])) is not None:
            steps = node.attr.strides_of(sizes)
            if steps is not None:
                return node.args[0], steps
        return value, (sizes[1] * sizes[2], sizes[2], 1)

    def contract(self, a: int, b: int, how: Contraction) -> int:
        return self.node("contract", (a, b), how.width, how)

    def vector(self, parts: Iterable[tuple[int, int, int]], width: int) -> int:
        """The sum of slices (source, start, stop) of parameters with one row."""
        return self.node("vector", (), width, tuple(parts))


@dataclass
class Program:
    """One step of a cell: `graph`, the new state parts, what the sources of parameters are, and their shapes; plans
    made of it."""

    graph: Graph
    outputs: list[int]
    input_size: int
    state_sizes: list[int]
    sources: list[Any]
    shapes: list[tuple[int, ...]]
    plans: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def listing(self) -> str:
        """One line a node, for people."""
        lines = []
        for i, n in enumerate(self.graph.nodes):
            args = ", ".join(f"%{a}" for a in n.args)
            attr = "" if n.attr is None else f"  {n.attr}"
            lines.append(f"%{i} = {n.op}({args}) : {n.width}{attr}")
        return "\n".join([*lines, "-> " + ", ".join(f"%{o}" for o in self.outputs)])
