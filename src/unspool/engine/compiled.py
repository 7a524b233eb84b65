"""The native engine inside torch.compile: two operators that the compiler sees as one call each.

The compiler knows a cell by a number; everything that is not a tensor is looked up from it when the call is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from unspool.engine import native
from unspool.engine.numbers import CELLS
from unspool.state import flatten, of_widths, unflatten, widths

_calls: list[native.Call] = []


@torch.compiler.disable
def outside(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` around which the compiler breaks its graph."""
    return function(*args)


@torch.compiler.assume_constant_result
def path_of(numbers: tuple[int, ...], input_size: int, shapes: tuple[Any, ...]) -> str:
    """The engine of a call on the CPU in float32: "native", or why not."""
    from unspool.engine.dispatch import Direction, program_of

    with _disable_current_modes():
        for number, shape in zip(numbers, shapes):
            found = program_of(Direction(CELLS[number]), input_size, of_widths(shape))
            if isinstance(found, str):
                return found
    return "native"


def run(
    directions: Sequence[Any], values: Tensor, offsets: Tensor, states: Sequence[Any], index: Tensor | None
) -> tuple[Tensor, list[Any]]:
    """As `engine.dispatch.run`, on the native engine, as one node of the compiler's graph."""
    numbers = [d.cell._unspool_number for d in directions]
    reverses = [d.reverse for d in directions]
    counts, shapes, tensors = [], [], []
    for direction, state in zip(directions, states):
        weights = direction.all_weights()
        parts = flatten(state)
        counts.append((len(parts), len(weights)))
        shapes.append(widths(state))
        tensors += [*parts, *weights]
    output, *finals = _opaque(numbers, reverses, counts, shapes, values, offsets, index, tensors)
    results, at = [], 0
    for state, (count, _) in zip(states, counts):
        results.append(unflatten(state, finals[at : at + count]))
        at += count
    return output, results


@torch.compiler.allow_in_graph
def _opaque(
    numbers: list[int],
    reverses: list[bool],
    counts: list[tuple[int, int]],
    shapes: list[Any],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    tensors: list[Tensor],
) -> tuple[Tensor, ...]:
    from unspool.engine.dispatch import Direction, program_of
    from unspool.program import sources

    streams, flat, at = [], [], 0
    for number, reverse, (parts, weights), shape in zip(numbers, reverses, counts, shapes):
        cell = CELLS[number]
        names = [name for name, _ in [*cell.named_parameters(), *cell.named_buffers()]]
        state = tensors[at : at + parts]
        given = dict(zip(names, tensors[at + parts : at + parts + weights]))
        at += parts + weights
        with _disable_current_modes():
            program = program_of(Direction(cell), int(values.shape[1]), of_widths(shape))
        assert not isinstance(program, str)
        used = sources.used(program)
        streams.append(native.Stream(program, reverse, used))
        flat += [*state, *sources.resolve(program, used, given.__getitem__)]
    training = torch.is_grad_enabled() and (values.requires_grad or any(t.requires_grad for t in flat))
    _calls.append(native.Call(streams, training, training and values.requires_grad))
    return tuple(_forward(len(_calls) - 1, values, offsets, index, flat))


@torch.library.custom_op("unspool::forward", mutates_args=(), device_types="cpu")
def _forward(
    call: int, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: list[Tensor]
) -> list[Tensor]:
    results, kept = native.forward(_calls[call], values, offsets, index, tensors, lend=False)
    return [*results, *kept]


@_forward.register_fake
def _(
    call: int, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: list[Tensor]
) -> list[Tensor]:
    made = _calls[call]
    rows = values.shape[0]
    tokens = rows if index is None else index.shape[0]
    batch = offsets.shape[0] - 1
    results = [values.new_empty(tokens, sum(made.out_widths))]
    results += [values.new_empty(batch, w) for s in made.streams for w in s.program.state_sizes]
    if made.training:
        for stream, plan in zip(made.streams, made.plans()):
            results += [values.new_empty(tokens, w) for w in stream.program.state_sizes[1:]]
            results += [
                values.new_empty(rows, plan.widths["pstash"]),
                values.new_empty(tokens, plan.widths["lstash"]),
            ]
    return results


@torch.library.custom_op("unspool::backward", mutates_args=(), device_types="cpu")
def _backward(
    call: int,
    needs: list[bool],
    kept: list[Tensor],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    output: Tensor,
    tensors: list[Tensor],
    dy: Tensor | None,
    d_finals: list[Tensor | None],
) -> list[Tensor]:
    made = _calls[call]
    flags = [False, needs[0], False, False, *needs[1:]]
    grads = native.backward(
        made, kept, values, offsets, index, output, tensors, dy, d_finals, flags, lend=False
    )
    return [g for g in grads if g is not None]


@_backward.register_fake
def _(
    call: int,
    needs: list[bool],
    kept: list[Tensor],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    output: Tensor,
    tensors: list[Tensor],
    dy: Tensor | None,
    d_finals: list[Tensor | None],
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t, need in zip([values, *tensors], needs) if need]


def _setup(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    call, values, offsets, index, tensors = inputs
    made = _calls[call]
    count = 1 + sum(len(s.program.state_sizes) for s in made.streams)
    ctx.call, ctx.states, ctx.kept, ctx.inputs = call, count - 1, len(output) - count, len(tensors)
    ctx.needs = [made.input_gradient, *(t.requires_grad for t in tensors)]
    ctx.save_for_backward(values, offsets, index, output[0], *tensors, *output[count:])


def _gradient(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    values, offsets, index, output, *rest = ctx.saved_tensors
    tensors, kept = rest[: ctx.inputs], rest[ctx.inputs :]
    found = iter(
        _backward(
            ctx.call,
            ctx.needs,
            kept,
            values,
            offsets,
            index,
            output,
            tensors,
            grads[0],
            grads[1 : 1 + ctx.states],
        )
    )
    each = [next(found) if need else None for need in ctx.needs]
    return None, each[0], None, None, each[1:]


_forward.register_autograd(_gradient, setup_context=_setup)
