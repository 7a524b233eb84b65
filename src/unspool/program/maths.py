"""Elementwise operations of a graph, written as calls."""

from __future__ import annotations

from collections.abc import Callable

from unspool.program.ir import EACH, Graph


class Maths:
    """`m.mul(a, 2.0)` is the node of a times 2: a method for each elementwise operation; numbers become constants."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __getattr__(self, op: str) -> Callable[..., int]:
        if op not in EACH:
            raise AttributeError(f"There is no elementwise operation {op!r}.")

        def each(*args: int | float) -> int:
            return self.graph.each(op, *(self.graph.const(a) if isinstance(a, float) else a for a in args))

        return each

    def square(self, a: int) -> int:
        return self.mul(a, a)

    def between(self, a: int, low: float, high: float) -> int:
        """Whether low < a < high."""
        return self.mul(self.gt(a, low), self.lt(a, high))

    def power(self, a: int, b: int) -> int:
        """a to the b: for the exponents that torch writes otherwise, as torch does."""
        exponent = self.graph.constant(b)
        if exponent in (0.5, -0.5):
            return self.sqrt(a) if exponent == 0.5 else self.rsqrt(a)
        if exponent == 0.0:
            return self.graph.spread(self.graph.const(1.0), self.graph.width(a))
        if exponent == -1.0:
            return self.div(1.0, a)
        if exponent in (1.0, 2.0, 3.0, 4.0):
            square = self.square(a)
            return {1.0: a, 2.0: square, 3.0: self.mul(square, a), 4.0: self.square(square)}[exponent]
        return self.pow(a, b)
