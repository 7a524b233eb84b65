"""One step of a cell, from its program, as ONNX; what depends on the input alone is kept apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from unspool.engine.dispatch import Direction
from unspool.errors import EngineError
from unspool.exporting.graph import Graph
from unspool.exporting.operations import (
    CONDITIONS,
    compared,
    contract,
    drop,
    grouped_max,
    lowered,
    order,
    pick,
    put,
    take,
    truth,
)
from unspool.program.ir import ON_STATE, Node
from unspool.program.lowering import Unsupported
from unspool.program.sources import resolve, used
from unspool.program.trace import trace
from unspool.state import flatten


def numbers(tensor: torch.Tensor, what: str) -> np.ndarray:
    """float32 numbers of a weight; `EngineError` for another type."""
    if tensor.dtype != torch.float32:
        raise EngineError(
            f"{what} must be float32 to be exported. Got {tensor.dtype}: convert it with .float()."
        )
    return tensor.detach().cpu().contiguous().numpy()


class Step:
    """The program of a direction's cell with its weights as they are now.

    `EngineError` where the step holds an operation that programs have not, which it names.
    """

    def __init__(self, direction: Direction, input_size: int, like: Any) -> None:
        name = type(direction.cell).__name__
        try:
            self.program = trace(direction.cell, input_size, like)
        except Unsupported as error:
            where = "" if error.where is None else f" ({error.where[0]}, line {error.where[1]})"
            raise EngineError(
                f"The step of {name} cannot be written as a program, and so not as ONNX: {error}{where}. "
                "docs/operations.md lists what a step may be made of."
            ) from error
        self.graph, self.input_size = self.program.graph, input_size
        self.widths = [int(leaf.shape[1]) for leaf in flatten(like)]
        wanted = used(self.program)
        tensors = resolve(self.program, wanted, direction.weight)
        self.weights = {i: numbers(t, f"A weight of {name}") for i, t in zip(wanted, tensors)}

    def on_state(self, value: int) -> bool:
        """Whether a node depends on the state."""
        return bool(self.graph.depends[value] & ON_STATE)

    def edge(self) -> list[int]:
        """The nodes that do not depend on the state and are used by those that do, or are new state parts."""
        found = {o for o in self.program.outputs if not self.on_state(o)}
        for i in self._needed(self.program.outputs, {}):
            if self.on_state(i):
                found.update(a for a in self.graph.nodes[i].args if not self.on_state(a))
        return sorted(found)

    def before(self, g: Graph, x: Any) -> dict[int, Any]:
        """The values of `edge` for x (N, F), all steps at once: (N, width) each, (1, width) where x is not in them."""
        rows = Rows(self, g, {}, x, [])
        return {i: rows.value(i) for i in self.edge()}

    def after(self, g: Graph, given: dict[int, Any], state: Sequence[Any]) -> list[Any]:
        """The new state parts (B, ·) from the old ones, and the values of `edge` at this step."""
        rows = Rows(self, g, given, None, state)
        return [rows.full(o) for o in self.program.outputs]

    def whole(self, g: Graph, x: Any, state: Sequence[Any]) -> list[Any]:
        """The new state parts of one step: x (B, F)."""
        return self.after(g, self.before(g, x), state)

    def _needed(self, wanted: Iterable[int], given: dict[int, Any]) -> list[int]:
        needed, waiting = set(), list(wanted)
        while waiting:
            i = waiting.pop()
            if i not in needed:
                needed.add(i)
                waiting += [] if i in given else self.graph.nodes[i].args
        return sorted(needed)


class Rows:
    """The values of a program's nodes as they are added to an ONNX graph; given: those that are there already."""

    def __init__(self, step: Step, g: Graph, given: dict[int, Any], x: Any, state: Sequence[Any]) -> None:
        self.step, self.g, self.values, self.x, self.state = step, g, dict(given), x, state
        self.conditions: dict[int, Any] = {}
        self.count: Any = None

    def value(self, wanted: int) -> Any:
        """Of a node, after those that it needs."""
        for i in self.step._needed([wanted], self.values):
            if i not in self.values:
                self.values[i] = self._made(i, self.step.graph.nodes[i])
        return self.values[wanted]

    def rows(self) -> Any:
        """(1,): the number of rows."""
        if self.count is None:
            self.count = self.g.sizes(self.state[0] if self.x is None else self.x, 0)
        return self.count

    def full(self, value: int) -> Any:
        """A value with all its rows, also where it is the same in each."""
        made, graph = self.value(value), self.step.graph
        if graph.depends[value]:
            return made
        return self.g.op("Expand", made, self.g.shape(self.rows(), graph.width(value)))

    def _made(self, i: int, node: Node) -> Any:
        g, args = self.g, [self.values[a] for a in node.args]
        if node.op == "x":
            return self.x
        if node.op == "state":
            return self.state[node.attr]
        if node.op == "const":
            return g.number(node.attr)
        if node.op == "vector":
            parts = [self.step.weights[s].reshape(-1)[low:high] for s, low, high in node.attr]
            return g.constant(np.stack(parts).sum(0, dtype=np.float32)[None])
        if node.op == "matmul":
            return self._product(i, node, args)
        if node.op == "slice":
            low, high = node.attr
            return g.op("Slice", args[0], g.ints(low), g.ints(high), g.ints(1))
        if node.op == "copy":
            return g.op("Expand", args[0], g.ints(1, node.width)) if node.width > 1 else args[0]
        if node.op == "cat":
            rows = [self.full(a) for a in node.args] if self.step.graph.depends[i] else args
            return g.op("Concat", *rows, axis=1)
        if node.op in CONDITIONS:
            self.conditions[i] = CONDITIONS[node.op](g, *args)
            return compared(g, self.conditions[i])
        if node.op == "where":
            chosen = self.conditions.get(node.args[0])
            return g.op("Where", truth(g, args[0]) if chosen is None else chosen, *args[1:])
        if node.op == "take":
            return take(g, args[0], node.attr)
        if node.op == "put":
            return put(g, self.full(node.args[0]), node.attr, node.width, self.rows())
        if node.op == "gmax":
            return grouped_max(g, args[0], node.width)
        if node.op == "order":
            return order(g, self.full(node.args[0]), node.attr)
        if node.op == "pick":
            return pick(g, *map(self.full, node.args))
        if node.op == "drop":
            return drop(g, self.full(node.args[0]), self.full(node.args[1]), node.width, self.rows())
        if node.op == "contract":
            return contract(g, args[0], args[1], node.attr)
        return lowered(g, node, args)

    def _product(self, i: int, node: Node, args: list[Any]) -> Any:
        m, depends = node.attr, self.step.graph.depends
        source = self.full(node.args[0]) if depends[i] and not depends[node.args[0]] else args[0]
        block = self.step.weights[m.source][slice(*m.rows), slice(*m.columns)]
        matrix = self.g.constant(np.ascontiguousarray(block.T if m.transposed else block))
        return self.g.op("Gemm", source, matrix, *args[1:])
