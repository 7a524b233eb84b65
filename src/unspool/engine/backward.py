"""The backward half of a plan: its two tapes, what the forward stashes for them, and the sums over rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.engine.tape import BUFFERS, Place, Tape, state_in, state_out
from unspool.program.gradient import Gradients, derive
from unspool.program.ir import LEAVES, ON_GRADIENT, ON_STATE, ON_X
from unspool.program.simplify import reachable

if TYPE_CHECKING:
    from unspool.engine.plan import Planner

CHEAP = frozenset(
    """add sub mul neg max min gt ge lt le eq ne where abs relu copy stop through sign clamp floor ceil round
    trunc""".split()
)


class Backward:
    """The gradient programs of the loop and of the prologue, and what the forward must stash for them."""

    def __init__(self, planner: Planner) -> None:
        self.planner, self.graph, self.rows = planner, planner.graph, planner.rows
        g, program = self.graph, planner.program
        seeds = [(v, g.node("adjoint", (), g.width(v), k)) for k, v in enumerate(program.outputs)]
        seeds.append((program.outputs[0], g.node("output_grad", (), program.state_sizes[0])))
        inside = [i for i in planner.loop if i not in planner.states] + self._free(program.outputs)
        edges = [v for v in planner.edge if planner.input_gradient or self._base(v) != planner.x]
        self.loop = derive(g, inside, seeds, {*planner.states, *edges})
        self.pgrad = {v: self.rows["pgrad"].add(g.width(v)) for v in planner.edge if v in self.loop.of}
        seeds = [(v, g.node("prologue_grad", (), g.width(v), v)) for v in self.pgrad]
        wanted = {planner.x} if planner.input_gradient else set()
        inside = [i for i in planner.prologue if i != planner.x] + self._free(planner.edge)
        self.prologue = derive(g, inside, seeds, wanted)

        zero = [g.spread(g.const(0.0), w) for w in program.state_sizes]
        self.carry = [self.loop.of.get(s, z) for s, z in zip(planner.states, zero)]
        known = {planner.x: Place(BUFFERS["x"])}
        outputs = {v: state_out(k) for k, v in reversed(list(enumerate(program.outputs)))}
        self.loop_known = {**outputs, **{s: state_in(k) for k, s in enumerate(planner.states)}, **known}
        roots = [*self.carry, *(self.loop.of[v] for v in self.pgrad), *_gradients(self.loop)]
        self.stash = self._choose(roots, self.loop, self.loop_known, "lstash", ON_STATE)
        edges = self._edges_read(roots)
        dx = [self.prologue.of[planner.x]] if planner.x in self.prologue.of else []
        self.pstash = {v: self.rows["pstash"].add(g.width(v)) for v in edges}
        for v, place in self._choose(
            [*dx, *_gradients(self.prologue)], self.prologue, known, "pstash", ON_X
        ).items():
            self.pstash.setdefault(v, place)
        self.prologue_known = known
        self.loop_values = {**self.stash, **self.pstash, **self.loop_known}
        self.dx = dx

    def _free(self, values: list[int]) -> list[int]:
        """What `values` need that is computed from parameters and numbers alone, wherever it is read."""
        g = self.graph
        return [i for i in reachable(g, values) if not g.depends[i] and g.nodes[i].op not in LEAVES]

    def _edges_read(self, roots: list[int]) -> list[int]:
        """The prologue's values that the backward loop reads, also to compute a cheap value again."""
        todo, seen = list(self._reads(roots, self.loop)), set()
        while todo:
            value = self._base(todo.pop())
            if value in seen or value in self.stash or value in self.loop_known:
                continue
            seen.add(value)
            if value not in self.planner.edge:
                todo += self.graph.nodes[value].args
        return [v for v in self.planner.edge if v in seen]

    def _reads(self, roots: list[int], gradients: Gradients) -> set[int]:
        """Forward values that the gradient's operations read."""
        depends = self.graph.depends
        reads = {s for s, _, _ in gradients.products}
        for value in reachable(self.graph, roots):
            if depends[value] & ON_GRADIENT:
                reads.update(a for a in self.graph.nodes[value].args if not depends[a] & ON_GRADIENT)
        return reads

    def _base(self, value: int) -> int:
        while self.graph.nodes[value].op == "slice":
            value = self.graph.nodes[value].args[0]
        return value

    def _choose(
        self, roots: list[int], gradients: Gradients, known: dict[int, Place], buffer: str, kind: int
    ) -> dict[int, Place]:
        """Forward values of the region to stash: those read by the gradients, unless known or cheap again."""
        g = self.graph
        reads = self._reads(roots, gradients)
        must = {self._base(s) for s, _, _ in gradients.products}

        def region(value: int) -> bool:
            in_loop = bool(g.depends[value] & ON_STATE)
            return in_loop if kind == ON_STATE else g.depends[value] == ON_X

        fixed = {v for v in must if not g.depends[v]}  # of parameters and numbers alone
        wanted = sorted(({self._base(v) for v in reads if region(self._base(v))} - set(known)) | fixed)
        stash = {v for v in wanted if v in must or g.nodes[v].op not in CHEAP}
        for value in wanted:
            if value in stash:
                continue
            parts = [self._base(a) for a in g.nodes[value].args]
            if not all(
                p in stash or p in known or not region(p) or (p in wanted and p < value) for p in parts
            ):
                stash.add(value)
        return {v: self.rows[buffer].add(g.width(v)) for v in sorted(stash)}

    def loop_tape(self) -> Tape:
        targets: dict[int, list[Place]] = {}
        for k, value in enumerate(self.carry):
            targets.setdefault(value, []).append(Place(BUFFERS["adj_out"] + k))
        for value, place in self.pgrad.items():
            targets.setdefault(self.loop.of[value], []).insert(0, place)
        self.loop_places = {self.loop.of[v]: p for v, p in self.pgrad.items()}
        for value in self._kept(self.loop, self.loop_values):
            if self._find(value, self.loop_places) is None:
                place = self.loop_places[value] = self.rows["bstash"].add(self.graph.width(value))
                targets.setdefault(value, []).insert(0, place)
        readable = dict(self.loop_values)
        for k, width in enumerate(self.planner.program.state_sizes):
            readable[self.graph.node("adjoint", (), width, k)] = Place(BUFFERS["adj_in"] + k)
        readable[self.graph.node("output_grad", (), self.planner.program.state_sizes[0])] = Place(
            BUFFERS["dy"]
        )
        return Tape(self.planner.shared, readable, targets)

    def prologue_tape(self) -> Tape:
        grads = {
            self.graph.node("prologue_grad", (), self.graph.width(v), v): p for v, p in self.pgrad.items()
        }
        self.prologue_places = dict(grads)
        targets = {value: [Place(BUFFERS["dx"])] for value in self.dx}
        for value in self._kept(self.prologue, {**self.pstash, **self.prologue_known}):
            if self._find(value, self.prologue_places) is None:
                place = self.prologue_places[value] = self.rows["pbstash"].add(self.graph.width(value))
                targets.setdefault(value, []).insert(0, place)
        return Tape(self.planner.shared, {**self.pstash, **self.prologue_known, **grads}, targets)

    def _find(self, value: int, places: dict[int, Place]) -> Place | None:
        if value in places:
            return places[value]
        node = self.graph.nodes[value]
        if node.op == "slice":
            base = self._find(node.args[0], places)
            return None if base is None else base.at(node.attr[0])
        for other, place in places.items():
            at = self._column(other, value)
            if at is not None:
                return place.at(at)
        return None

    def _column(self, whole: int, value: int) -> int | None:
        """Where in a `cat`, also of others, a value starts."""
        if whole == value:
            return 0
        if self.graph.nodes[whole].op != "cat":
            return None
        at = 0
        for arg in self.graph.nodes[whole].args:
            inner = self._column(arg, value)
            if inner is not None:
                return at + inner
            at += self.graph.width(arg)
        return None

    def _kept(self, gradients: Gradients, values: dict[int, Place]) -> list[int]:
        """The gradients that sums over rows read."""
        found = [g for _, g, _ in gradients.products]
        found += [self._factors(g, values)[0] for _, g in gradients.vectors]
        return list(dict.fromkeys(found))

    def _factors(self, gradient: int, values: dict[int, Place]) -> tuple[int, int | None]:
        """(g, v) of a gradient g v whose factor v the forward keeps: their sum needs no row of its own."""
        g, node = self.graph, self.graph.nodes[gradient]
        if node.op == "mul":
            for a, b in (node.args, node.args[::-1]):
                alike = (
                    g.width(a) == g.width(b) and g.depends[a] & ON_GRADIENT and not g.depends[b] & ON_GRADIENT
                )
                if alike and self._find(b, values) is not None:
                    return a, b
        return gradient, None

    def parameter_gradients(self) -> tuple[list[list[int]], list[list[int]]]:
        outers, sums = [], []
        for prologue, gradients, grads, values in (
            (0, self.loop, self.loop_places, self.loop_values),
            (1, self.prologue, self.prologue_places, {**self.pstash, **self.prologue_known}),
        ):

            def row(value: int, places: dict[int, Place], prologue: int = prologue) -> list[int]:
                place = self._find(value, places)
                assert place is not None
                return [prologue, place.buffer, place.offset]

            for source, gradient, matrix in gradients.products:
                outers.append(
                    [*row(source, values), *row(gradient, grads), self.planner.shared.matrix(matrix)]
                )
            for vector, gradient in gradients.vectors:
                gradient, factor = self._factors(gradient, values)
                times = [0, -1, 0] if factor is None else row(factor, values)
                for parameter, start, stop in self.graph.nodes[vector].attr:
                    sums.append([*row(gradient, grads), stop - start, parameter, start, *times])
        return outers, sums


def _gradients(gradients: Gradients) -> list[int]:
    found = [g for _, g, _ in gradients.products] + [g for _, g in gradients.vectors]
    return list(dict.fromkeys(found))
