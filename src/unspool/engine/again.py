"""A native call's gradients as something that can be differentiated again: its programs carried out by torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.engine import eager
from unspool.errors import EngineError
from unspool.program.interpret import evaluate

if TYPE_CHECKING:
    from unspool.engine.native import Call


def gradients(
    call: Call,
    values: Tensor,
    offsets: Tensor | None,
    index: Tensor | None,
    tensors: Sequence[Tensor | None],
    d_results: Sequence[Tensor | None],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of `values` and of each of `tensors` where `needs` says so, with a graph of their own.

    d_results: those of the output and of the final state parts. As slow as the plain loop. Raises `EngineError` for
    weights whose shapes are no longer the call's.
    """
    with torch.enable_grad():
        # views of their own, so that what one tensor was made of is no way to another
        given = [t.view_as(t) if need and t is not None else t for t, need in zip([values, *tensors], needs)]
        results = _run(call, given[0], offsets, index, given[1:])
        met = [(r, d) for r, d in zip(results, d_results) if d is not None and r.requires_grad]
        wanted = [t for t, need in zip(given, needs) if need and t is not None]
        if not met or not wanted:
            return [None] * len(given)
        outputs, d_outputs = zip(*met)
        found = iter(torch.autograd.grad(outputs, wanted, d_outputs, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needs]


def _run(
    call: Call, values: Any, offsets: Tensor | None, index: Tensor | None, tensors: Sequence[Any]
) -> list[Tensor]:
    if offsets is None:
        batch, steps = values.shape[:2]
        offsets = torch.arange(batch + 1, device="cpu") * steps
    rows = values.flatten(0, -2)
    rows = rows if index is None else rows[index]
    outputs, finals = [], []
    for stream, initial, sources in zip(call.streams, *_of_streams(call, tensors)):
        program = stream.program
        shapes, got = [program.shapes[i] for i in stream.sources], [tuple(s.shape) for s in sources]
        if got != shapes:
            raise EngineError(
                f"The weights must keep the shapes of the call, {shapes}, until its backward. Got {got}."
            )
        batch = len(offsets) - 1
        start = [
            rows.new_zeros(batch, width) if part is None else part
            for part, width in zip(initial, program.state_sizes)
        ]
        named = dict(zip(stream.sources, sources))

        def step(x: Tensor, state: Any, program: Any = program, named: Any = named) -> Any:
            return tuple(evaluate(program.graph, program.outputs, named, x, state))

        output, final = eager.run(step, rows, offsets, tuple(start), stream.reverse)
        outputs.append(output)
        finals.append(final)
    output = torch.cat(outputs, dim=1)
    parts = [torch.stack(p) for p in zip(*finals)] if call.stacked else [p for final in finals for p in final]
    return [output if values.dim() == 2 else output.unflatten(0, values.shape[:2]), *parts]


def _of_streams(call: Call, tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The initial state parts of each stream, and its sources."""
    states, sources = [], []
    shared = len(call.streams[0].program.state_sizes) if call.stacked else 0
    at = shared
    for number, stream in enumerate(call.streams):
        own = 0 if call.stacked else len(stream.program.state_sizes)
        parts = (
            [None if p is None else p[number] for p in tensors[:shared]] if shared else tensors[at : at + own]
        )
        states.append(parts)
        sources.append(tensors[at + own : at + own + len(stream.sources)])
        at += own + len(stream.sources)
    return states, sources
