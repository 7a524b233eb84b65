"""The tensors behind a program's vectors and matrices: parameters, and what the cell computes from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from unspool.program.ir import Program
from unspool.program.simplify import reachable
from unspool.program.trace import Captured, Computed, Parameter, Ref


def used(program: Program) -> list[int]:
    """The sources that the step reads."""
    if "used" not in program.plans:
        found = set()
        for i in reachable(program.graph, program.outputs):
            node = program.graph.nodes[i]
            if node.op == "matmul":
                found.add(node.attr.source)
            elif node.op == "vector":
                found.update(source for source, _, _ in node.attr)
        program.plans["used"] = sorted(found)
    return program.plans["used"]


def resolve(program: Program, wanted: list[int], weight: Callable[[str], Tensor]) -> list[Tensor]:
    """The tensors of `wanted` sources; what the cell computes from parameters is computed, with its gradient."""
    wanted_sources = [program.sources[i] for i in wanted]
    if all(isinstance(source, Parameter) for source in wanted_sources):
        return [weight(source.name) for source in wanted_sources]
    made: dict[int, Tensor] = {}

    def value(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return get(tree.source)
        if isinstance(tree, (tuple, list)):
            return type(tree)(value(part) for part in tree)
        return tree

    def get(i: int) -> Tensor:
        if i not in made:
            source = program.sources[i]
            if isinstance(source, Parameter):
                made[i] = weight(source.name)
            elif isinstance(source, Captured):
                made[i] = source.tensor
            else:
                assert isinstance(source, Computed)
                result = source.func(*value(source.args), **{k: value(v) for k, v in source.kwargs.items()})
                made[i] = result if source.item is None else result[source.item]
        return made[i]

    return [get(i) for i in wanted]
