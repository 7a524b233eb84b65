"""Wider operations from narrow ones that lie side by side, for the tapes; people see the program as it was.

a W[:, i:j], a W[:, j:k]       ->  slices of a W[:, i:k]
f(u[:, i:j]), f(u[:, j:k])     ->  slices of f(u[:, i:k])
(a - μ) / sqrt(σ² + ε)         ->  norm(a, mean(a), rstd(a, mean(a), ε)), which has a short gradient
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from unspool.program.ir import UNARY, Graph, Matrix, Node, Program
from unspool.program.simplify import Rewrite, reachable


def join(program: Program) -> Program:
    graph, outputs = program.graph, program.outputs
    for rewrite in (_Norms, _Products, _Elementwise):
        graph, outputs = rewrite(graph, outputs).run()
    return Program(graph, outputs, program.input_size, program.state_sizes, program.sources, program.shapes)


def norm_of(graph: Graph, node: Node) -> tuple[int, float] | None:
    """(a, ε) of d rsqrt(mean(d d) + ε) or d / sqrt(mean(d d) + ε), with d = a - mean(a)."""

    def is_op(i: int, op: str) -> Node | None:
        return graph.nodes[i] if graph.nodes[i].op == op else None

    def mean_of(i: int) -> int | None:
        mean = is_op(i, "mul")
        total = is_op(mean.args[0], "sum") if mean else None
        if mean is None or total is None or graph.constant(mean.args[1]) != 1.0 / graph.width(total.args[0]):
            return None
        return total.args[0]

    def shifted(i: int, a: int) -> bool:
        """Whether i is s - mean(s), where s is a less one number, as `var` takes it."""
        d = is_op(i, "sub")
        s = is_op(d.args[0], "sub") if d and mean_of(d.args[1]) == d.args[0] else None
        return s is not None and s.args[0] == a and is_op(s.args[1], "stop") is not None

    if node.op not in ("mul", "div"):
        return None
    root = is_op(node.args[1], "rsqrt" if node.op == "mul" else "sqrt")
    inner = is_op(root.args[0], "add") if root else None
    centred = is_op(node.args[0], "sub") if inner else None
    if inner is None or centred is None:
        return None
    square, epsilon = mean_of(inner.args[0]), graph.constant(inner.args[1])
    if square is None or epsilon is None or mean_of(centred.args[1]) != centred.args[0]:
        return None
    spread = graph.nodes[square]
    if spread.op != "mul" or spread.args[0] != spread.args[1]:
        return None
    same = spread.args[0] == node.args[0] or shifted(spread.args[0], centred.args[0])
    return (centred.args[0], epsilon) if same else None


class _Norms(Rewrite):
    def build(self, i: int, node: Node) -> int:
        found = norm_of(self.old, node)
        if found is None:
            return self.copy(node)
        a, g = self.made[found[0]], self.new
        mean = g.row("mean", a)
        return g.node("norm", (a, mean, g.row("rstd", a, mean, g.const(found[1]))), node.width)


@dataclass(eq=False)
class _Run:
    """Values that lie side by side, in order, and the one that takes their place once it is made."""

    members: list[int]
    made: int | None = None


class _Join(Rewrite):
    """Gathers values of one `key` by where they `start`; `whole` makes the one that they are slices of."""

    def __init__(self, old: Graph, outputs: list[int]) -> None:
        super().__init__(old, outputs)
        self.place: dict[int, tuple[_Run, int]] = {}  # value -> its run, and its first column there
        groups: dict[Hashable, list[int]] = {}
        for i in reachable(old, outputs):
            key = self.key(old.nodes[i])
            if key is not None:
                groups.setdefault(key, []).append(i)
        for values in groups.values():
            self.arrange(values)

    def arrange(self, values: list[int]) -> None:
        run, column, end = _Run([]), 0, -1
        for i in sorted(values, key=lambda i: self.start(self.old.nodes[i])):
            node = self.old.nodes[i]
            if self.start(node) != end or not self.follows(run.members[-1], i):
                run, column = _Run([]), 0
            run.members.append(i)
            self.place[i] = run, column
            column, end = column + node.width, self.start(node) + node.width

    def build(self, i: int, node: Node) -> int:
        if i not in self.place or len(self.place[i][0].members) == 1:
            for a in node.args:
                self.ensure(a)
            return self.copy(node)
        run, column = self.place[i]
        if run.made is None:
            run.made = self.whole(run)
        return self.new.slice(run.made, column, column + node.width)

    def ensure(self, i: int) -> int:
        """Value i, made before its turn where it is needed."""
        if i not in self.made:
            self.made[i] = self.build(i, self.old.nodes[i])
        return self.made[i]

    def key(self, node: Node) -> Hashable | None:
        raise NotImplementedError

    def start(self, node: Node) -> int:
        raise NotImplementedError

    def follows(self, before: int, i: int) -> bool:
        return True

    def whole(self, run: _Run) -> int:
        raise NotImplementedError


class _Products(_Join):
    """Products of one value by one parameter, added to nothing, to vectors, or to products that are joined alike."""

    def key(self, node: Node) -> Hashable | None:
        if node.op != "matmul":
            return None
        m: Matrix = node.attr
        init: Hashable = None
        if len(node.args) == 2:
            op = self.old.nodes[node.args[1]].op
            if op not in ("vector", "matmul"):
                return None
            init = op if op == "vector" else self.key(self.old.nodes[node.args[1]])
            if init is None:
                return None
        return node.args[0], m.source, m.transposed, m.columns if m.transposed else m.rows, init

    def start(self, node: Node) -> int:
        m: Matrix = node.attr
        return m.rows[0] if m.transposed else m.columns[0]

    def follows(self, before: int, i: int) -> bool:
        inits = [self.old.nodes[j].args[1:] for j in (before, i)]
        if not inits[0] or self.old.nodes[inits[0][0]].op == "vector":
            return True
        (run, column), (other, start) = (self.place[init[0]] for init in inits)
        return run is other and column + self.old.width(before) == start

    def whole(self, run: _Run) -> int:
        first, last = (self.old.nodes[i] for i in (run.members[0], run.members[-1]))
        m, end = first.attr, last.attr
        rows, columns = (m.rows[0], end.rows[1]), (m.columns[0], end.columns[1])
        matrix = Matrix(m.source, rows, columns, m.transposed)
        source = self.ensure(first.args[0])
        if len(first.args) == 1:
            return self.new.matmul(source, matrix)
        inits = [self.ensure(self.old.nodes[i].args[1]) for i in run.members]
        return self.new.matmul(source, matrix, self.new.cat(inits))


class _Elementwise(_Join):
    """One function of slices of one value."""

    def key(self, node: Node) -> Hashable | None:
        if node.op not in UNARY or node.op == "copy" or self.old.nodes[node.args[0]].op != "slice":
            return None
        return node.op, self.old.nodes[node.args[0]].args[0]

    def start(self, node: Node) -> int:
        return int(self.old.nodes[node.args[0]].attr[0])

    def whole(self, run: _Run) -> int:
        slices = [self.old.nodes[self.old.nodes[i].args[0]] for i in run.members]
        base = self.ensure(slices[0].args[0])
        part = self.new.slice(base, slices[0].attr[0], slices[-1].attr[1])
        return self.new.each(self.old.nodes[run.members[0]].op, part)
