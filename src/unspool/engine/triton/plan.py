"""The kernels of a program: the loop over time in one launch, and its gradient program reversed in one.

Training keeps a row of `tape` for each token, of what the gradient reads and is not cheap to make again. The backward
leaves a row of `grads`, from which sums over all tokens make the gradients of matrices, as products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from unspool.engine.backward import CHEAP
from unspool.engine.triton import source
from unspool.engine.triton.body import OPS, WIDEST, Body, Ref
from unspool.engine.triton.source import Kernel
from unspool.engine.triton.split import Loop, split
from unspool.program.gradient import derive
from unspool.program.ir import ON_GRADIENT, Matrix, Program
from unspool.program.simplify import reachable


@dataclass
class Product:
    """A matrix's gradient: the sum over tokens of `operand` times `gradient`, each columns of a buffer."""

    operand: Ref
    gradient: Ref
    matrix: Matrix


@dataclass
class Training:
    forward: Kernel
    backward: Kernel
    edges: list[Ref | None]  # where the gradient of each edge is; None: it has none
    fixed: list[
        list[tuple[int, int, int]]
    ]  # of each fixed row (column of `sums`, first, past the last of its own)
    products: list[Product]


@dataclass
class Plan:
    loop: Loop
    matrices: list[int]  # the sources of the loop's products
    forward: Kernel
    training: Training


def why_not(program: Program) -> str | None:
    """Why a program has no kernel; None: it has one. Found once."""
    if "not triton" not in program.plans:
        program.plans["not triton"] = _missing(split(program))
    return program.plans["not triton"]


def _missing(loop: Loop) -> str | None:
    for i in loop.nodes:
        if loop.graph.nodes[i].op not in OPS:
            return f"they do not have the operation '{loop.graph.nodes[i].op}'"
    widest = max(loop.graph.width(i) for i in [*loop.nodes, *loop.states])
    if widest > WIDEST:
        return f"they hold rows of up to {WIDEST} numbers in registers, and the step has one of {widest}"
    return None


def make_plan(program: Program) -> Plan:
    """The kernels of a program that has some. Made once."""
    if "triton" not in program.plans:
        program.plans["triton"] = _Planner(split(program)).plan()
    return program.plans["triton"]


class _Planner:
    def __init__(self, loop: Loop) -> None:
        self.loop, self.graph = loop, loop.graph
        g = self.graph
        widths = [g.width(s) for s in loop.states]
        self.given = {v: Ref(f"edge{j}", "token", str(g.width(v))) for j, v in enumerate(loop.edges)}
        self.output = Ref("output", "token", str(widths[0]))
        self.adjoints = [g.node("adjoint", (), w, k) for k, w in enumerate(widths)]
        self.d_output = g.node("output_grad", (), widths[0])
        seeds = [*zip(loop.outputs, self.adjoints), (loop.outputs[0], self.d_output)]
        self.found = derive(g, loop.nodes, seeds, {*loop.states, *loop.edges, *loop.fixed})
        zeros = [g.spread(g.const(0.0), w) for w in widths]
        self.carry = [self.found.of.get(s, z) for s, z in zip(loop.states, zeros)]
        self.of_edges = [self.found.of.get(v) for v in loop.edges]
        of_vectors = dict(self.found.vectors)
        self.of_fixed = [self.found.of.get(v, of_vectors.get(v)) for v in loop.fixed]

    def plan(self) -> Plan:
        forward, _ = self._forward(Ref("tape", "row", "WIDTH"), [])
        kept, body = self._forward(Ref("tape", "token", "WIDTH"), self._stash())
        return Plan(self.loop, self.loop.matrices(self.loop.nodes), forward, self._training(kept, body))

    def _forward(self, scratch: Ref, stash: list[int]) -> tuple[Kernel, Body]:
        loop = self.loop
        body = Body(loop, {s: f"s{k}" for k, s in enumerate(loop.states)}, self.given, scratch)
        body.reserved[loop.outputs[0]] = self.output
        for value in stash:
            if value in loop.states:
                body.place(value)
        body.make([*loop.outputs, *stash])
        for value in stash:
            body.place(value)
        if body.ref(loop.outputs[0]) != self.output:
            body.write(loop.outputs[0], self.output)
        return source.forward(body), body

    def _training(self, forward: Kernel, kept: Body) -> Training:
        loop, g = self.loop, self.graph
        names = {a: f"a{k}" for k, a in enumerate(self.adjoints)}
        refs = {
            v: replace(r, stride=r.stride.replace("WIDTH", str(kept.width))) for v, r in kept.refs.items()
        }
        refs[self.d_output] = Ref("d_output", "token", self.output.stride)
        body = Body(loop, names, refs, Ref("grads", "token", "WIDTH"))
        of_products = sorted(self.found.products, key=lambda p: p[0])
        leave = [v for v in [*self.of_edges, *(v for _, v, _ in of_products)] if v is not None]
        for value in leave:
            if g.depends[value] & ON_GRADIENT and value not in body.reserved:
                body.reserve(value)
        sums = [
            (part, j, at) for j, v in enumerate(self.of_fixed) if v is not None for part, at in self._parts(v)
        ]
        body.make([*self.carry, *leave, *(part for part, _, _ in sums)])
        places = {v: body.place(v) for v in leave}
        for value, ref in places.items():
            if ref.pointer != "grads":
                places[value] = body.write(value, body.take(g.width(value)))
        products = []
        for operand, value, matrix in of_products:
            at = kept.ref(operand)
            assert at is not None
            products.append(Product(at, places[value], matrix))
        fixed: list[list[tuple[int, int, int]]] = [[] for _ in loop.fixed]
        column = 0
        for part, j, first in sums:
            fixed[j].append((column, first, first + g.width(part)))
            column += g.width(part)
        backward = source.backward(body, self.carry, [part for part, _, _ in sums])
        return Training(
            forward, backward, [None if v is None else places[v] for v in self.of_edges], fixed, products
        )

    def _parts(self, value: int, first: int = 0) -> list[tuple[int, int]]:
        """(value, column) of what a `cat` is made of, also of others."""
        if self.graph.nodes[value].op != "cat":
            return [(value, first)]
        found = []
        for part in self.graph.nodes[value].args:
            found += self._parts(part, first)
            first += self.graph.width(part)
        return found

    def _stash(self) -> list[int]:
        """The values of the loop that the gradient reads, but those that are cheap to make again."""
        loop, g = self.loop, self.graph
        forward = {*loop.nodes, *loop.states}
        roots = [v for v in (*self.carry, *self.of_edges, *self.of_fixed) if v is not None]
        roots += [v for _, v, _ in self.found.products]
        todo = [
            a
            for v in reachable(g, roots)
            if g.depends[v] & ON_GRADIENT
            for a in g.nodes[v].args
            if not g.depends[a] & ON_GRADIENT
        ]
        read: set[int] = set()
        while todo:
            value = todo.pop()
            if value in read or loop.is_given(value) or g.nodes[value].op == "const":
                continue
            read.add(value)
            if value not in forward:  # of the gradient itself
                todo += g.nodes[value].args
        stash = {source for source, _, _ in self.found.products if source in forward}
        for value in sorted(read):
            if value not in forward or value in stash:
                continue
            ready = all(
                g.nodes[a].op == "const" or loop.is_given(a) or a in read for a in g.nodes[value].args
            )
            if g.nodes[value].op not in CHEAP or not ready:
                stash.add(value)
        return sorted(stash)
