"""What of a program runs in the loop over time, and what before it.

Before it, by torch, as one product a parameter where it can be one:

    edges       what depends on the input alone, a row for each token
    fixed       what depends on the weights alone, one row

In the loop: the rest, cut so that no wide row is made of which only parts are read. A kernel holds rows in registers,
which it cannot cut, and a product of one gate needs a quarter of the registers of the product of four.

    (a W + b)[:, i:j]    ->  a W[:, i:j] + b[:, i:j]
    tanh(a)[:, i:j]      ->  tanh(a[:, i:j])
"""

from __future__ import annotations

from dataclasses import dataclass

from unspool.program.ir import EACH, ON_STATE, ON_X, Graph, Node, Program
from unspool.program.join import join
from unspool.program.simplify import Rewrite, reachable


@dataclass
class Loop:
    """A program cut in two: `graph` with the new state parts `outputs`, of which `nodes` are made at every step."""

    graph: Graph
    outputs: list[int]
    states: list[int]
    nodes: list[int]
    edges: list[int]
    fixed: list[int]
    shapes: list[tuple[int, ...]]  # of the sources

    def base(self, value: int) -> int:
        """What `value` is a slice of."""
        while self.graph.nodes[value].op == "slice":
            value = self.graph.nodes[value].args[0]
        return value

    def is_given(self, value: int) -> bool:
        """Whether the loop reads it from what was made before."""
        return self.base(value) in self.edges or self.base(value) in self.fixed

    def matrices(self, nodes: list[int]) -> list[int]:
        """The sources of the products among `nodes`."""
        made = [self.graph.nodes[i] for i in nodes]
        return sorted({n.attr.source for n in made if n.op == "matmul"})


def split(program: Program) -> Loop:
    joined = join(program)
    graph, outputs = _Apart(joined.graph, joined.outputs).run()
    needed = reachable(graph, outputs)
    nodes = [i for i in needed if graph.depends[i] & ON_STATE and graph.nodes[i].op != "state"]
    read = {a for i in nodes for a in graph.nodes[i].args} | set(outputs)
    loop = Loop(graph, outputs, [], nodes, [], [], program.shapes)
    given = sorted({loop.base(v) for v in read if not graph.depends[v] & ON_STATE})
    loop.edges = [v for v in given if graph.depends[v] == ON_X]
    loop.fixed = [v for v in given if not graph.depends[v] and graph.nodes[v].op != "const"]
    loop.states = [graph.node("state", (), w, k) for k, w in enumerate(program.state_sizes)]
    return loop


class _Apart(Rewrite):
    """Slices of what the loop makes, moved to what it is made of, where slices are all that is read of it."""

    def __init__(self, old: Graph, outputs: list[int]) -> None:
        super().__init__(old, outputs)
        self.opened: set[int] = set()
        whole = set(outputs)  # read as they are
        for i in reversed(reachable(old, outputs)):
            node = old.nodes[i]
            if old.depends[i] & ON_STATE and i not in whole and node.op in (EACH | {"matmul"}) - {"copy"}:
                self.opened.add(i)
            parts = self._cut(i) if i in self.opened else node.args if node.op == "slice" else ()
            whole.update(a for a in node.args if a not in parts)
            if node.op == "matmul":
                whole.add(node.args[0])

    def _cut(self, i: int) -> list[int]:
        """The operands of which a slice of value i reads a slice."""
        node = self.old.nodes[i]
        args = node.args[1:] if node.op == "matmul" else node.args
        return [a for a in args if self.old.width(a) == node.width]

    def build(self, i: int, node: Node) -> int:
        return self.part(node.args[0], *node.attr) if node.op == "slice" else self.copy(node)

    def part(self, i: int, start: int, stop: int) -> int:
        """The columns from start to stop of value i."""
        if i not in self.opened:
            return self.new.slice(self.made[i], start, stop)
        node, cut = self.old.nodes[i], self._cut(i)
        args = [self.part(a, start, stop) if a in cut else self.made[a] for a in node.args]
        if node.op == "matmul":
            init = self.part(node.args[1], start, stop) if len(args) == 2 else None
            return self.new.matmul(self.made[node.args[0]], node.attr.take(width=(start, stop)), init)
        return self.new.each(node.op, *args)
