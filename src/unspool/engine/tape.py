"""From nodes to the native tape: where each value lives, and the instructions in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from unspool import _native
from unspool.program.ir import AXES, LEAVES, ROWS, Graph, Matrix

BUFFERS: dict[str, int] = dict(_native.BUFFERS)
OPS: dict[str, int] = dict(_native.OPS)
ALIGN = 16  # floats in a cache line


def aligned(width: int) -> int:
    return -(-width // ALIGN) * ALIGN


def row_stride(width: int) -> int:
    """Floats between rows of a buffer: an odd number of cache lines, so that a column's rows share a cache."""
    lines = -(-width // ALIGN)
    return ALIGN * (lines + 1 - lines % 2) if lines else 0


@dataclass(frozen=True)
class Place:
    """Columns from `offset` of a row of a buffer."""

    buffer: int
    offset: int = 0

    def at(self, offset: int) -> Place:
        return Place(self.buffer, self.offset + offset)


def state_in(k: int) -> Place:
    return Place(BUFFERS["state_in"] + k)


def state_out(k: int) -> Place:
    return Place(BUFFERS["state_out"] + k)


class Rows:
    """Columns given out in one buffer."""

    def __init__(self, buffer: str) -> None:
        self.buffer, self.width = BUFFERS[buffer], 0

    def add(self, width: int) -> Place:
        """A place for `width` columns; from a cache line's start, unless it is one column."""
        start = self.width if width == 1 else aligned(self.width)
        self.width = start + width
        return Place(self.buffer, start)


@dataclass
class Shared:
    """What all tapes of a program share: packed matrices, vectors and constants."""

    graph: Graph
    matrices: list[Matrix] = field(default_factory=list)
    vectors: Rows = field(default_factory=lambda: Rows("vec"))
    vector_parts: list[list[int]] = field(default_factory=list)
    constants: list[tuple[int, float]] = field(default_factory=list)
    _places: dict[int, Place] = field(default_factory=dict)

    def matrix(self, matrix: Matrix) -> int:
        if matrix not in self.matrices:
            self.matrices.append(matrix)
        return self.matrices.index(matrix)

    def place(self, value: int) -> Place:
        """Of a `vector` or `const` node, or a `cat` of vectors."""
        if value not in self._places:
            node = self.graph.nodes[value]
            place = self._places[value] = self.vectors.add(node.width)
            if node.op == "const":
                self.constants.append((place.offset, node.attr))
            else:
                at = place.offset
                for part in node.args if node.op == "cat" else [value]:
                    for source, start, stop in self.graph.nodes[part].attr:
                        self.vector_parts.append([at, source, start, stop - start])
                    at += self.graph.width(part)
        return self._places[value]

    def fixed(self, value: int) -> bool:
        """Whether a value is the same at every step, in the shared vectors."""
        node = self.graph.nodes[value]
        parts = node.args if node.op == "cat" else [value]
        return all(self.graph.nodes[p].op == "vector" for p in parts) or node.op == "const"


class Tape:
    """The instructions that compute `targets` from values that are `readable`.

    readable: value -> place. targets: value -> the places it must be written to.
    """

    def __init__(self, shared: Shared, readable: dict[int, Place], targets: dict[int, list[Place]]) -> None:
        self.shared, self.graph, self.readable = shared, shared.graph, readable
        self.targets = {value: list(places) for value, places in targets.items() if places}
        self.places: dict[int, Place] = {}
        self.code: list[list[int]] = []
        self.scratch = 0
        self.fused: dict[int, tuple[int, ...]] = {}
        self.order = self._order()
        self._fuse()
        self._place()
        self._write()

    def _order(self) -> list[int]:
        needed, todo = set(), list(self.targets)
        while todo:
            value = todo.pop()
            if value in needed or value in self.readable or self.shared.fixed(value):
                continue
            node = self.graph.nodes[value]
            assert node.op not in LEAVES, f"{node.op} is not readable here"
            needed.add(value)
            todo += self.args(value)
        return sorted(needed)

    def _fuse(self) -> None:
        """add(mul(a, b), c), where nothing else needs the product, becomes fma(a, b, c)."""
        uses = Counter(a for v in self.order for a in self.args(v))
        gone = set()
        for value in self.order:
            node = self.graph.nodes[value]
            if node.op != "add":
                continue
            for product, other in (node.args, node.args[::-1]):
                inner = self.graph.nodes[product]
                free = product not in self.targets and product not in self.readable and product not in gone
                if inner.op == "mul" and inner.width == node.width and uses[product] == 1 and free:
                    self.fused[value] = (*inner.args, other)
                    gone.add(product)
                    break
        self.order = [v for v in self.order if v not in gone]

    def args(self, value: int) -> tuple[int, ...]:
        """What an instruction reads; of `through` the first operand alone, which it copies."""
        node = self.graph.nodes[value]
        return node.args[:1] if node.op == "through" else self.fused.get(value, node.args)

    def _is_view(self, value: int) -> bool:
        return self.graph.nodes[value].op == "slice"

    def _place(self) -> None:
        """Targets first; parts of a `cat` where the cat is; scratch for the rest, reused once a value is dead."""
        computed = [v for v in self.order if not self._is_view(v)]
        inside = set(computed)
        for value in computed:
            if value in self.targets:
                self.places[value] = self.targets[value][0]
        owner: dict[int, tuple[int, int]] = {}  # part -> (cat, column)
        for value in reversed(computed):
            if self.graph.nodes[value].op != "cat":
                continue
            at = 0
            for arg in self.graph.nodes[value].args:
                if arg in inside and arg not in self.places and arg not in owner:
                    owner[arg] = (value, at)
                at += self.graph.width(arg)

        def root(value: int) -> tuple[int, int]:
            column = 0
            while value not in self.places and value in owner:
                value, more = owner[value]
                column += more
            return value, column

        when = {value: i for i, value in enumerate(self.order)}
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for value in computed:
            base, _ = root(value)
            first[base] = min(first.get(base, when[value]), when[value])
        for value in self.order:
            if self._is_view(value):
                continue
            base, _ = root(value)
            last[base] = max(last.get(base, 0), when[value])
            for arg in self.args(value):
                while self._is_view(arg) and arg not in self.readable:
                    arg = self.graph.nodes[arg].args[0]
                if arg in inside:
                    arg_base, _ = root(arg)
                    last[arg_base] = max(last.get(arg_base, 0), when[value])
        for value in self.targets:
            if self._is_view(value) and value not in self.readable:
                base = value
                while self._is_view(base) and base not in self.readable:
                    base = self.graph.nodes[base].args[0]
                if base in inside:
                    last[root(base)[0]] = len(self.order)
        taken: list[tuple[int, int, int]] = []  # (last use, offset, width)
        for base in sorted((b for b in first if b not in self.places), key=lambda b: first[b]):
            width = aligned(self.graph.width(base))
            taken = [t for t in taken if t[0] >= first[base]]
            offset = 0
            for _, low, size in sorted(taken, key=lambda t: t[1]):
                if offset + width <= low:
                    break
                offset = max(offset, low + size)
            taken.append((last[base], offset, width))
            self.places[base] = Place(BUFFERS["scratch"], offset)
            self.scratch = max(self.scratch, offset + width)
        for value in computed:
            base, column = root(value)
            self.places[value] = self.places[base].at(column)

    def place(self, value: int) -> Place:
        if value in self.readable:
            return self.readable[value]
        if value in self.places:
            return self.places[value]
        node = self.graph.nodes[value]
        if node.op == "slice":
            return self.place(node.args[0]).at(node.attr[0])
        return self.shared.place(value)

    def _write(self) -> None:
        for value in self.order:
            node = self.graph.nodes[value]
            if node.op == "cat":
                at = 0
                for arg in node.args:
                    self._copy(arg, self.places[value].at(at))
                    at += self.graph.width(arg)
            elif node.op == "matmul":
                self._emit("matmul", node.width, self.places[value], node.args, self.shared.matrix(node.attr))
            elif value in self.fused:
                self._emit("fma", node.width, self.places[value], self.fused[value])
            elif node.op in ROWS:
                self._emit(
                    node.op, self.graph.width(node.args[0]), self.places[value], node.args, spread=False
                )
            elif node.op in AXES:
                numbers = node.attr if isinstance(node.attr, tuple) else node.attr.numbers
                self._emit(node.op, node.width, self.places[value], node.args, spread=False, pattern=numbers)
            elif node.op == "through":
                self._emit("copy", node.width, self.places[value], self.args(value))
            elif not self._is_view(value):
                self._emit(node.op, node.width, self.places[value], node.args)
        for value, places in self.targets.items():
            for place in places:
                self._copy(value, place)

    def _copy(self, value: int, to: Place) -> None:
        if self.place(value) != to:
            self._emit("copy", self.graph.width(value), to, (value,))

    def _emit(
        self,
        op: str,
        width: int,
        out: Place,
        args: tuple[int, ...],
        matrix: int = -1,
        spread: bool = True,
        pattern: Sequence[int] = (),
    ) -> None:
        row = [OPS[op], width, self.graph.width(args[0]) if op == "matmul" else 0, matrix]
        row += [out.buffer, out.offset, 0]
        for arg in args:
            place = self.place(arg)
            broadcast = spread and op != "matmul" and width > 1 and self.graph.width(arg) == 1
            row += [place.buffer, place.offset, int(broadcast)]
        self.code.append(row + [-1, 0, 0] * (3 - len(args)) + list(pattern))
