"""torch's operations in terms of the program's: one entry of `LOWERINGS` an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program import ties
from unspool.program.layout import Unsupported as Unsupported
from unspool.program.layout import Value
from unspool.program.maths import Maths
from unspool.program.operands import aligned, layout

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer


Lowering = Callable[["Tracer", tuple, dict, Any], Any]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    def register(function: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = function
        return function

    return register


def elementwise(name: str, build: Callable[..., int], arity: int) -> None:
    def lower(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
        if not all(isinstance(a, (int, float, Tensor)) for a in args[:arity]) or len(args) < arity:
            raise Unsupported(f"'aten.{name}' with these arguments")
        out = layout(t, args, result)
        operands = [aligned(t, a, out) for a in args[:arity]]
        if name == "add" and result.dtype == torch.bool:  # True + True is True
            return out.of(t.graph.spread(t.graph.each("max", *operands), out.width))
        return out.of(t.graph.spread(build(t.graph, *operands, *args[arity:], **kwargs), out.width))

    LOWERINGS[name] = lower


def _clamp(t: Tracer, a: Any, low: Any, high: Any, result: Any) -> Value:
    out = layout(t, (a, low, high), result)
    a, m = aligned(t, a, out), Maths(t.graph)
    edges = [None if bound is None else aligned(t, bound, out) for bound in (low, high)]
    if any(isinstance(bound, (Tensor, Value)) for bound in (low, high)):
        clamped = ties.between_tensors(m, a, *edges)
    else:
        clamped = ties.between_numbers(m, a, *edges)
    return out.of(t.graph.spread(clamped, out.width))


@lowers("clamp", "clamp_min")
def _clamp_both(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    given = dict(zip(("min", "max"), args[1:]), **kwargs)
    return _clamp(t, args[0], given.get("min"), given.get("max"), result)


@lowers("clamp_max")
def _clamp_max(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    return _clamp(t, args[0], None, args[1], result)


def draws(func: Any) -> bool:
    """Whether an operation draws random numbers; torch's tags leave some out that take a generator."""
    return torch.Tag.nondeterministic_seeded in func.tags or any(
        argument.name == "generator" for argument in func._schema.arguments
    )
