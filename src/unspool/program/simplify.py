"""Rewrites a traced program so that it does less work, in the same terms.

    (a | b) W            ->  a W_top + b W_bottom
    (a W)[:, i:j]        ->  a W[:, i:j]                where only slices of the product are used
    x W + b + h U + c    ->  matmul(h, U, init = matmul(x, W, init = b + c))

The last puts everything that depends on the input alone into one value, which is computed outside the time loop.
"""

from __future__ import annotations

from collections import Counter

from unspool.program.ir import ON_STATE, Graph, Node, Program


def simplify(program: Program) -> Program:
    graph, outputs = program.graph, program.outputs
    for rewrite in (_Split, _Gather):
        graph, outputs = rewrite(graph, outputs).run()
    return Program(
        graph,
        outputs,
        program.input_size,
        program.state_sizes,
        program.sources,
        program.shapes,
    )


class Rewrite:
    """Rebuilds the nodes that the outputs need, one method for each kind that changes."""

    def __init__(self, old: Graph, outputs: list[int]) -> None:
        self.old, self.outputs, self.new = old, outputs, Graph()
        self.made: dict[int, int] = {}
        self.uses: Counter[int] = Counter(outputs)
        self.users: dict[int, list[Node]] = {}
        for i in reachable(old, outputs):
            for a in old.nodes[i].args:
                self.uses[a] += 1
                self.users.setdefault(a, []).append(old.nodes[i])

    def run(self) -> tuple[Graph, list[int]]:
        for i in reachable(self.old, self.outputs):
            if i not in self.made:
                self.made[i] = self.build(i, self.old.nodes[i])
        return self.new, [self.made[o] for o in self.outputs]

    def build(self, i: int, node: Node) -> int:
        return self.copy(node)

    def copy(self, node: Node) -> int:
        args = tuple(self.made[a] for a in node.args)
        if node.op == "slice":
            return self.new.slice(args[0], *node.attr)
        return self.new.node(node.op, args, node.width, node.attr)


class _Split(Rewrite):
    def build(self, i: int, node: Node) -> int:
        if node.op == "matmul":
            return self.product(self.made[node.args[0]], node.attr)
        if node.op == "slice" and self.only_sliced(node.args[0]):
            return self.sliced(node.args[0], *node.attr)
        return self.copy(node)

    def product(self, source: int, matrix) -> int:
        made = self.new.nodes[source]
        if made.op != "cat":
            return self.new.matmul(source, matrix)
        total, at = None, 0
        for part in made.args:
            width = self.new.width(part)
            term = self.new.matmul(part, matrix.take(inner=(at, at + width)))
            total = term if total is None else self.new.each("add", total, term)
            at += width
        assert total is not None
        return total

    def only_sliced(self, i: int) -> bool:
        """A linear map (matmul, or matmul + vector) of which every use is a slice."""
        if i in self.outputs or any(u.op != "slice" for u in self.users[i]):
            return False
        node = self.old.nodes[i]
        if node.op == "add":
            kinds = sorted(self.old.nodes[a].op for a in node.args)
            return kinds == ["matmul", "vector"] and all(self.old.width(a) == node.width for a in node.args)
        return node.op == "matmul"

    def sliced(self, i: int, start: int, stop: int) -> int:
        node = self.old.nodes[i]
        if node.op == "add":
            return self.new.each("add", *(self.sliced(a, start, stop) for a in node.args))
        if node.op == "vector":
            return self.new.slice(self.made[i], start, stop)
        return self.product(self.made[node.args[0]], node.attr.take(width=(start, stop)))


class _Gather(Rewrite):
    """Sums with a product in them: vectors first, then what depends on x alone, then the state's products."""

    def build(self, i: int, node: Node) -> int:
        if node.op != "add":
            return self.copy(node)
        terms = self.terms(i, node.width)
        products = [t for t in terms if self.new.nodes[t].op == "matmul"]
        if not products or any(self.new.width(t) != node.width for t in terms):
            return self.copy(node)
        vectors = [t for t in terms if self.new.nodes[t].op == "vector"]
        rest = [t for t in terms if t not in vectors and t not in products]
        total: int | None = None
        if vectors:
            total = self.new.vector((part for v in vectors for part in self.new.nodes[v].attr), node.width)
        for in_loop in (0, ON_STATE):
            for t in rest:
                if self.new.depends[t] & ON_STATE == in_loop:
                    total = t if total is None else self.new.each("add", total, t)
            for t in products:
                if self.new.depends[t] & ON_STATE == in_loop:
                    made = self.new.nodes[t]
                    total = self.new.matmul(made.args[0], made.attr, total)
        assert total is not None
        return total

    def terms(self, i: int, width: int) -> list[int]:
        """The terms of a sum; an inner sum is opened where nothing else uses it."""
        node = self.old.nodes[i]
        if node.op == "add" and node.width == width:
            found = []
            for a in node.args:
                inner = self.old.nodes[a]
                found += self.terms(a, width) if self.uses[a] == 1 and inner.op == "add" else [self.made[a]]
            return [term for t in found for term in self.opened(t)]
        return self.opened(self.made[i])

    def opened(self, t: int) -> list[int]:
        """matmul(a, W, init) as the terms a W and init."""
        node = self.new.nodes[t]
        if node.op == "matmul" and len(node.args) == 2:
            return [self.new.matmul(node.args[0], node.attr), *self.opened(node.args[1])]
        return [t]


def reachable(graph: Graph, outputs: list[int]) -> list[int]:
    """The nodes that `outputs` need, in order."""
    needed = set(outputs)
    for i in range(max(outputs, default=-1), -1, -1):
        if i in needed:
            needed.update(graph.nodes[i].args)
    return sorted(needed)
