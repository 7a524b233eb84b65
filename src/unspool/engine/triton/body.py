"""The lines of one step: nodes of a graph as Triton source.

A value is a block (B, P) in registers, P the next power of two of its width and 16 at least, or (B, 1) where the width
is 1. Blocks of registers cannot be cut, joined or multiplied by a large matrix: for that a value goes through memory,
a row of its sequence, and comes back in the part that is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from unspool.engine.triton.split import Loop
from unspool.program.ir import COMPARISONS, Node

ROWS_OF_BLOCK = 16  # sequences that one instance of a kernel takes: the least that a product's tile has
TILES = 8192  # numbers of a matrix that a product reads at a time, but at least 16 of a row, and at most 32
WIDEST = 1024  # numbers of a row that a block may have

EACH = {
    **{name: f"({{0}} {sign} {{1}})" for name, sign in zip("add sub mul div".split(), "+-*/")},
    **{name: f"{name}({{0}})" for name in "sigmoid expm1 log1p tanh softplus sinh cosh sign trunc".split()},
    **{name: f"{name}({{0}}, {{1}})" for name in "remainder fmod logaddexp".split()},
    **{
        name: f"tl.{name}({{0}})"
        for name in "abs exp exp2 log log2 sqrt rsqrt erf sin cos floor ceil".split()
    },
    "neg": "(-{0})",
    "log10": "(tl.log({0}) * 0.4342944819032518)",
    "erfc": "(1.0 - tl.erf({0}))",
    "max": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "min": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "relu": "tl.maximum({0}, 0.0, propagate_nan=tl.PropagateNan.ALL)",
    "where": "tl.where({0} != 0.0, {1}, {2})",
    "fma": "({0} * {1} + {2})",
    "clamp": "tl.minimum(tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL), {2}, "
    "propagate_nan=tl.PropagateNan.ALL)",
    "dtanh": "({0} * (1.0 - {1} * {1}))",
    "dsigmoid": "({0} * ({1} * (1.0 - {1})))",
    "round": "round_to_even({0})",
    "stop": "{0}",
    "through": "{0}",
    "norm": "(({0} - {1}) * {2})",
}
SIGNS = dict(zip("gt ge lt le eq ne".split(), "> >= < <= == !=".split()))
EACH.update({name: f"tl.where({{0}} {SIGNS[name]} {{1}}, 1.0, 0.0)" for name in COMPARISONS})
ROWS = {
    "sum": "row_sum({0}, {width})",
    "mean": "(row_sum({0}, {width}) / {width})",
    "dot": "row_sum({0} * {1}, {width})",
    "amax": "row_max({0}, {width})",
    "rstd": "row_rstd({0}, {1}, {2}, {width})",
}
OPS = frozenset([*EACH, *ROWS, "copy", "matmul", "slice", "cat"])


def padded(width: int) -> int:
    return 1 if width == 1 else max(16, 1 << (width - 1).bit_length())


@dataclass(frozen=True)
class Ref:
    """Where a value is in memory: the rows of a pointer, numbered by `row`, `stride` numbers each, from `offset` on."""

    pointer: str
    row: str
    stride: str
    offset: int = 0

    def at(self, offset: int) -> Ref:
        return Ref(self.pointer, self.row, self.stride, self.offset + offset)

    def __str__(self) -> str:
        return f"{self.pointer} + {self.offset}, {self.row} * {self.stride}"


class Body:
    """Lines that make values of a loop's graph, at one step of it.

    names: variables of values that are there. refs: values in memory. scratch: where values go that pass through
    memory; `width` is how many numbers of its row are taken in the end.
    """

    def __init__(self, loop: Loop, names: dict[int, str], refs: dict[int, Ref], scratch: Ref) -> None:
        self.loop, self.graph = loop, loop.graph
        self.names, self.refs, self.scratch = dict(names), dict(refs), scratch
        self.width = 0
        self.reserved: dict[int, Ref] = {}  # where a value goes when it goes into memory
        self.lines: list[str] = []
        self.heads: dict[int, str] = {}  # rows that all steps share: value -> the line that loads it
        self._unseen = False  # whether something is in memory that other threads may not see yet

    def node(self, value: int) -> Node:
        return self.graph.nodes[value]

    def needed(self, targets: Iterable[int]) -> list[int]:
        """What has to be made for `targets`, in order."""
        found, todo = set(), list(targets)
        while todo:
            value = todo.pop()
            if value in found or value in self.names or self.node(value).op == "const":
                continue
            if self.ref(value) is None and not self._shared(value):
                found.add(value)
                todo += self.node(value).args
        return sorted(found)

    def make(self, targets: Iterable[int]) -> None:
        for value in self.needed(targets):
            self._make(value)

    def _make(self, value: int) -> None:
        node = self.node(value)
        if node.op == "cat":
            self.place(value)
        elif node.op == "slice":
            self.refs[value] = self.place(node.args[0]).at(node.attr[0])
        elif node.op == "matmul":
            self._product(value, node)
        elif node.op == "copy":
            self._set(value, f"tl.broadcast_to({self._tensor(node.args[0])}, (ROWS, {padded(node.width)}))")
        elif node.op in ROWS and self.graph.width(node.args[0]) > 1:
            whole = self.full(node.args[0]), *map(self.use, node.args[1:])
            self._set(value, ROWS[node.op].format(*whole, width=self.graph.width(node.args[0])))
        elif node.op in ROWS:
            of_one = {"dot": "({0} * {1})", "rstd": "(1.0 / tl.sqrt(({0} - {1}) * ({0} - {1}) + {2}))"}
            self._set(value, of_one.get(node.op, "{0}").format(*map(self.use, node.args)))
        else:
            self._set(value, EACH[node.op].format(*map(self.use, node.args)))

    def _set(self, value: int, text: str) -> None:
        self.names[value] = f"v{value}"
        self.lines.append(f"v{value} = {text}")

    def use(self, value: int) -> str:
        """The variable of a value that is there, or in memory; the number of a constant."""
        if value in self.names:
            return self.names[value]
        node = self.node(value)
        if node.op == "const":
            return repr(node.attr) if math.isfinite(node.attr) else f'float("{node.attr}")'
        sizes = f"{node.width}, {padded(node.width)}"
        if self._shared(value):
            base, offset = self._base(value)
            name = self.names[value] = f"f{value}"
            self.heads[value] = f"{name} = load_one(fixed{self.loop.fixed.index(base)} + {offset}, {sizes})"
            return name
        ref = self.ref(value)
        assert ref is not None, f"{node.op} is nowhere"
        self._see()
        self._set(value, f"load({ref}, live, {sizes})")
        return self.names[value]

    def _tensor(self, value: int) -> str:
        constant = self.graph.constant(value)
        return self.use(value) if constant is None else f"tl.full((1, 1), {self.use(value)}, tl.float32)"

    def full(self, value: int) -> str:
        """As `use`, a block of all rows and columns."""
        if self.graph.depends[value]:
            return self.use(value)
        return f"tl.broadcast_to({self._tensor(value)}, (ROWS, {padded(self.graph.width(value))}))"

    def _shared(self, value: int) -> bool:
        return self._base(value)[0] in self.loop.fixed

    def _base(self, value: int) -> tuple[int, int]:
        offset = 0
        while self.node(value).op == "slice":
            offset += self.node(value).attr[0]
            value = self.node(value).args[0]
        return value, offset

    def ref(self, value: int) -> Ref | None:
        """Where a value, or what it is a slice of, is in memory."""
        offset = 0
        while value not in self.refs:
            if self.node(value).op != "slice":
                return None
            offset += self.node(value).attr[0]
            value = self.node(value).args[0]
        return self.refs[value].at(offset)

    def take(self, width: int) -> Ref:
        """A place in the scratch row."""
        found = self.scratch.at(self.width)
        self.width += width
        return found

    def reserve(self, value: int, ref: Ref | None = None) -> Ref:
        """Keep a place for a value; for the parts of a `cat` side by side."""
        found = self.take(self.graph.width(value)) if ref is None else ref
        self.reserved.setdefault(value, found)
        if self.node(value).op == "cat":
            at = 0
            for part in self.node(value).args:
                self.reserve(part, found.at(at))
                at += self.graph.width(part)
        return found

    def place(self, value: int) -> Ref:
        """Where the value is in memory, once it is."""
        found = self.ref(value)
        if found is not None:
            return found
        return self.write(value, self.reserved.get(value) or self.take(self.graph.width(value)))

    def write(self, value: int, ref: Ref) -> Ref:
        """Put a value into memory, a `cat` by its parts."""
        node, width = self.node(value), self.graph.width(value)
        if self.refs.get(value) == ref:
            return ref
        if node.op == "cat" and value not in self.names:
            at = 0
            for part in node.args:
                self.write(part, ref.at(at))
                at += self.graph.width(part)
        else:
            self.lines.append(f"store({ref}, live, {self.full(value)}, {width}, {padded(width)})")
            self._unseen = True
        self.refs.setdefault(value, ref)
        return ref

    def _see(self) -> None:
        if self._unseen:
            self.lines.append("tl.debug_barrier()")
            self._unseen = False

    def _product(self, value: int, node: Node) -> None:
        matrix, width = node.attr, padded(node.width)
        row = self.loop.shapes[matrix.source][1]
        weights = f"matrix{matrix.source} + {matrix.rows[0] * row + matrix.columns[0]}"
        steps = (1, row) if matrix.transposed else (row, 1)
        init = self.full(node.args[1]) if len(node.args) == 2 else None
        if matrix.inner == 1:
            column = f"load_strided({weights}, {node.width}, {width}, {steps[1]})"
            made = f"{self.use(node.args[0])} * {column}"
            self._set(value, made if init is None else f"{init} + {made}")
            return
        rows = self.place(node.args[0])
        self._see()
        if width == 1:
            made = (
                f"product_of_one({rows}, live, {weights}, {matrix.inner}, {steps[0]}, {padded(matrix.inner)})"
            )
            self._set(value, made if init is None else f"{init} + {made}")
            return
        total = f"tl.zeros((ROWS, {width}), tl.float32)" if init is None else init
        tile = min(32, max(16, TILES // width), padded(matrix.inner))
        sizes = f"{matrix.inner}, {node.width}, {steps[0]}, {steps[1]}, {tile}, PRECISION"
        self._set(value, f"product({total}, {rows}, live, {weights}, {sizes})")
