"""The tensors behind a program's vectors and matrices: parameters, and what the cell computes from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from unspool.program import surroundings
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


def described(program: Program) -> list[Any]:
    """What the sources that the step reads are, comparable: equal lists name equal tensors."""

    def tree(value: Any) -> Any:
        if isinstance(value, Ref):
            return source(value.source)
        if isinstance(value, (tuple, list)):
            return tuple(map(tree, value))
        return value

    def source(i: int) -> Any:
        made = program.sources[i]
        if isinstance(made, Computed):
            settings = tuple((key, tree(value)) for key, value in made.kwargs.items())
            return made.func, tree(made.args), settings, made.item
        return made.name if isinstance(made, Parameter) else id(made.tensor)

    return [source(i) for i in used(program)]


def resolve(
    program: Program,
    wanted: list[int],
    weight: Callable[[str], Tensor],
    held: Iterable[Tensor] | None = None,
) -> list[Tensor]:
    """The tensors of `wanted` sources; what the cell computes from parameters is computed, with its gradient.

    held: what stands for the tensors that the cell holds without registering them, in the order of the sources.
    """
    wanted_sources = [program.sources[i] for i in wanted]
    if all(isinstance(source, Parameter) for source in wanted_sources):
        return [weight(source.name) for source in wanted_sources]
    if not surroundings.usual():
        with surroundings.defaults():
            return resolve(program, wanted, weight, held)
    made: dict[int, Tensor] = {}
    if held is not None:
        made.update(zip((i for i, s in enumerate(program.sources) if isinstance(s, Captured)), held))

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
