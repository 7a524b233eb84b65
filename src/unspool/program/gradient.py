"""The gradient of a program, by reverse-mode rules: one rule an operation, in `rules.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from unspool.program.ir import Graph, Matrix
from unspool.program.rules import RULES


@dataclass
class Gradients:
    """Where the gradients of a region end."""

    of: dict[int, int] = field(default_factory=dict)  # value at the region's edge -> its gradient
    products: list[tuple[int, int, Matrix]] = field(default_factory=list)  # (source, gradient, matrix)
    vectors: list[tuple[int, int]] = field(default_factory=list)  # (vector node, gradient)


def derive(graph: Graph, region: Iterable[int], seeds: list[tuple[int, int]], wanted: set[int]) -> Gradients:
    """Pull `seeds`, pairs (value, its gradient), back through the values of `region`.

    Gradients of values in `wanted` outside the region are kept in `Gradients.of`.
    """
    result = Gradients()
    inside = set(region)
    parts: dict[int, list[tuple[int, int, int]]] = {}  # value -> (gradient, start, stop)

    def give(value: int, gradient: int | None) -> None:
        if gradient is None or graph.nodes[value].op == "const":
            return
        width = graph.width(value)
        if graph.width(gradient) > width:
            gradient = _row_sum(graph, gradient)
        parts.setdefault(value, []).append((graph.spread(gradient, width), 0, width))

    for value, gradient in seeds:
        give(value, gradient)
    # A value's users come after it, so its gradient is whole when its turn comes.
    for value in range(max((*inside, *parts, *wanted), default=-1), -1, -1):
        if value not in parts:
            continue
        node = graph.nodes[value]
        view = node.op in ("slice", "cat") and value not in wanted
        if value not in inside and not view:  # a view leads to what it is of
            if node.op == "vector":
                result.vectors.append((value, _combine(graph, parts[value], node.width)))
            elif value in wanted:
                result.of[value] = _combine(graph, parts[value], node.width)
            continue
        if node.op == "slice":
            start = node.attr[0]
            base = parts.setdefault(node.args[0], [])
            base += [(g, start + a, start + b) for g, a, b in parts[value]]
            continue
        gradient = _combine(graph, parts[value], node.width)
        if node.op == "matmul":
            result.products.append((node.args[0], gradient, node.attr))
            if _leads_on(graph, node.args[0], inside, wanted):
                give(node.args[0], graph.matmul(gradient, node.attr.t))
            if len(node.args) == 2:
                give(node.args[1], gradient)
        elif node.op == "cat":
            at = 0
            for arg in node.args:
                give(arg, graph.slice(gradient, at, at + graph.width(arg)))
                at += graph.width(arg)
        else:
            for arg, part in zip(node.args, RULES[node.op](graph, gradient, value, *node.args)):
                give(arg, part)
    return result


def _leads_on(graph: Graph, value: int, inside: set[int], wanted: set[int]) -> bool:
    while graph.nodes[value].op == "slice" and value not in wanted:
        value = graph.nodes[value].args[0]
    return value in inside or value in wanted


def _row_sum(graph: Graph, value: int) -> int:
    node = graph.nodes[value]
    if node.op == "mul" and all(graph.width(a) == node.width for a in node.args):
        return graph.row("dot", *node.args)
    return graph.row("sum", value)


def _combine(graph: Graph, parts: list[tuple[int, int, int]], width: int) -> int:
    """The sum of gradients of ranges of a value, as one value: a `cat` of pieces where ranges differ.

    Products come last, each added to the sum so far while it is computed.
    """
    edges = sorted({0, width, *(a for _, a, _ in parts), *(b for _, _, b in parts)})
    pieces = []
    for low, high in pairwise(edges):
        covering = [graph.slice(g, low - a, high - a) for g, a, b in parts if a <= low and high <= b]
        total = None
        for piece in sorted(covering, key=lambda p: graph.nodes[p].op == "matmul"):
            made = graph.nodes[piece]
            if total is None:
                total = piece
            elif made.op == "matmul" and len(made.args) == 1:
                total = graph.matmul(made.args[0], made.attr, total)
            else:
                total = graph.each("add", total, piece)
        pieces.append(graph.spread(graph.const(0.0) if total is None else total, high - low))
    return graph.cat(pieces)
