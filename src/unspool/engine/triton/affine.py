"""Steps that are affine in the state, unit by unit: s' = a ⊙ s + b, where a and b see the input alone, as in minGRU.

Two such steps are one: a₂ (a₁ s + b₁) + b₂ = (a₂ a₁) s + (a₂ b₁ + b₂). So all states come from a scan over time, which
needs no step to wait for the one before (Blelloch 1990; Martin & Cundy 2018, arXiv:1709.04057).
"""

from __future__ import annotations

from dataclasses import dataclass

from unspool.program.ir import ON_STATE, Graph, Program
from unspool.program.join import join


@dataclass(frozen=True)
class Affine:
    """`graph` with nodes `scales` and `shifts`: a and b of each state part, as wide as it."""

    graph: Graph
    scales: list[int]
    shifts: list[int]


def affine(program: Program) -> Affine | None:
    """The a and b of a program; None where a part is anything else. Found once."""
    if "affine" not in program.plans:
        program.plans["affine"] = _affine(program)
    return program.plans["affine"]


def _affine(program: Program) -> Affine | None:
    joined = join(program)
    graph = joined.graph
    scales: list[int] = []
    shifts: list[int] = []
    for part, (value, width) in enumerate(zip(joined.outputs, program.state_sizes)):
        found = _Terms(graph, part).of(value)
        if found is None:
            return None
        for term, terms in zip(found, (scales, shifts)):
            terms.append(graph.spread(term, width))
    return Affine(graph, scales, shifts)


class _Terms:
    """Values as (a, b) with value = a s + b, where s is one part of the state."""

    def __init__(self, graph: Graph, part: int) -> None:
        self.graph, self.part = graph, part
        self.known: dict[int, tuple[int, int] | None] = {}

    def of(self, value: int) -> tuple[int, int] | None:
        if value not in self.known:
            self.known[value] = self._of(value)
        return self.known[value]

    def _of(self, value: int) -> tuple[int, int] | None:
        g, node = self.graph, self.graph.nodes[value]
        if not g.depends[value] & ON_STATE:
            return g.const(0.0), value
        if node.op == "state":
            return (g.const(1.0), g.const(0.0)) if node.attr == self.part else None
        if node.op not in ("add", "sub", "neg", "mul", "div", "fma", "where"):
            return None
        terms = [self.of(a) for a in node.args]
        found = [t for t in terms if t is not None]
        if len(found) < len(terms):
            return None
        free = [not g.depends[a] & ON_STATE for a in node.args]
        if node.op in ("add", "sub"):
            (a, b), (c, d) = found
            return g.each(node.op, a, c), g.each(node.op, b, d)
        if node.op == "neg":
            return g.each("neg", found[0][0]), g.each("neg", found[0][1])
        if node.op == "where" and free[0]:
            (_, chosen), (a, b), (c, d) = found
            return g.each("where", chosen, a, c), g.each("where", chosen, b, d)
        if node.op == "div" and free[1]:
            (a, b), (_, by) = found
            return g.each("div", a, by), g.each("div", b, by)
        if node.op in ("mul", "fma") and (free[0] or free[1]):
            (_, by), (a, b) = found[:2] if free[0] else found[1::-1]
            a, b = g.each("mul", a, by), g.each("mul", b, by)
            if node.op == "fma":
                a, b = g.each("add", a, found[2][0]), g.each("add", b, found[2][1])
            return a, b
        return None
