"""A native call's gradients as something that can be differentiated again: its programs carried out by torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.engine import eager
from unspool.program.interpret import evaluate

if TYPE_CHECKING:
    from unspool.engine.native import Call


def gradients(
    call: Call,
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    tensors: Sequence[Tensor],
    d_results: Sequence[Tensor | None],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of `values` and of each of `tensors` where `needs` says so, with a graph of their own.

    d_results: those of the output (N, sum of widths) and of the final state parts. As slow as the plain loop.
    """
    with torch.enable_grad():
        # views of their own, so that what one tensor was made of is no way to another
        given = [t.view_as(t) if need else t for t, need in zip([values, *tensors], needs)]
        results = _run(call, given[0], offsets, index, given[1:])
        met = [(r, d) for r, d in zip(results, d_results) if d is not None and r.requires_grad]
        wanted = [t for t, need in zip(given, needs) if need]
        if not met or not wanted:
            return [None] * len(given)
        outputs, d_outputs = zip(*met)
        found = iter(torch.autograd.grad(outputs, wanted, d_outputs, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needs]


def _run(
    call: Call, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: Sequence[Tensor]
) -> list[Tensor]:
    rows = values if index is None else values[index]
    outputs, finals, at = [], [], 0
    for stream in call.streams:
        program, first = stream.program, at + len(stream.program.state_sizes)
        initial, at = tensors[at:first], first + len(stream.sources)
        named = dict(zip(stream.sources, tensors[first:at]))

        def step(x: Tensor, state: Any, program: Any = program, named: Any = named) -> Any:
            return tuple(evaluate(program.graph, program.outputs, named, x, state))

        output, final = eager.run(step, rows, offsets, tuple(initial), stream.reverse)
        outputs.append(output)
        finals += list(final)
    return [torch.cat(outputs, dim=1), *finals]
