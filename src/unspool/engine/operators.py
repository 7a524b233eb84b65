"""The native engine as one operator (`unspool.operators`): a call as a text and tensors.

A call's text has a line that tells how it runs, then a line for each direction, its program (`program.text`). The
operands of a direction are its initial state parts and its program's sources, as `engine.native` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

import unspool.operators  # noqa: F401  (tells torch of them)
from unspool.engine import again, native
from unspool.engine.mapped import is_mapped, one_by_one
from unspool.errors import EngineError
from unspool.program import surroundings
from unspool.program.ir import Program
from unspool.program.text import of_text, to_text


def run(
    programs: Sequence[Program],
    reverses: Sequence[bool],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    tensors: list[Tensor],
    live: str = "",
    precision: str = "float32",
) -> tuple[Tensor, list[list[Tensor]]]:
    """As `native.run`, as one operator. live: the cells' numbers, where these may change (`engine.compiled`)."""
    training = torch.is_grad_enabled() and (values.requires_grad or any(t.requires_grad for t in tensors))
    input_gradient = training and (values.requires_grad or torch.compiler.is_exporting())
    first = head(list(reverses), training, input_gradient, precision if training else "float32")
    text = "\n".join([first, *map(to_text, programs)])
    output, *rest = torch.ops.unspool.forward(text, live, values, offsets, index, tensors)
    finals, at = [], 0
    for program in programs:
        finals.append(rest[at : at + len(program.state_sizes)])
        at += len(program.state_sizes)
    return output, finals


def head(reverse: list[bool], training: bool, input_gradient: bool, precision: str = "float32") -> str:
    """The first line of a call's text."""
    how = {"reverse": reverse, "training": training, "input_gradient": input_gradient}
    return json.dumps({**how, "precision": precision})


@lru_cache(maxsize=64)
def call_of(text: str) -> native.Call:
    """The call of a text. The 64 used last are kept."""
    first, *programs = text.split("\n")
    try:
        how = json.loads(first)
        reverses, training, input_gradient = how["reverse"], how["training"], how["input_gradient"]
        precision = {"float32": "float32", "bfloat16": "bfloat16"}[how["precision"]]
        streams = [_stream(of_text(program), bool(r)) for program, r in zip(programs, reverses, strict=True)]
    except (ValueError, TypeError, KeyError) as error:
        raise EngineError(
            f"The operator unspool::forward was given a call that it cannot read: {error}."
        ) from None
    return native.Call(streams, bool(training), bool(input_gradient), precision=precision)


def _stream(program: Program, reverse: bool) -> native.Stream:
    return native.Stream(program, reverse, list(range(len(program.sources))))


def forward(
    text: str, live: str, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: list[Tensor]
) -> list[Tensor]:
    """The output, each final state part, then what a backward needs; nothing of it without training."""
    ran = text
    if live:
        from unspool.engine import compiled

        ran = compiled.as_now(text, live)
    results = native.forward(call_of(ran), values, *_dense(offsets, index), tensors, lend=False)
    return [*results, compiled.mark(text, ran)] if live else list(results)


def _dense(offsets: Tensor, index: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return offsets.contiguous(), None if index is None else index.contiguous()


def not_dense(
    text: str, live: str, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: list[Tensor]
) -> list[Tensor]:
    kinds = dict.fromkeys(f"{t.dtype}, {t.layout}" for t in (values, *tensors))
    raise EngineError(
        f"A compiled call takes dense tensors, torch.strided. Got {'; '.join(kinds)}. "
        "Convert them with .to_dense() or .dequantize()."
    )


def forward_shapes(
    text: str, live: str, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: list[Tensor]
) -> list[Tensor]:
    made = call_of(text)
    rows = values.shape[0]
    tokens = rows if index is None else index.shape[0]
    batch = offsets.shape[0] - 1
    _check_shapes(made, values, tensors)
    results = [values.new_empty(tokens, sum(made.out_widths))]
    results += [values.new_empty(batch, w) for s in made.streams for w in s.program.state_sizes]
    if made.training:
        results.append(values.new_empty(made.kept_floats(rows, tokens)))
    return [*results, offsets.new_empty(2)] if live else results


def _check_shapes(made: native.Call, values: Tensor, tensors: list[Tensor]) -> None:
    """As the engine refuses what does not fit, so do shapes alone."""
    at = 0
    for stream in made.streams:
        program = stream.program
        initial = tensors[at : at + len(program.state_sizes)]
        at += len(program.state_sizes)
        sources = tensors[at : at + len(program.sources)]
        at += len(program.sources)
        got = [values.shape[1], *(part.shape[1] for part in initial)]
        if got != [program.input_size, *program.state_sizes] or len(sources) != len(program.sources):
            raise EngineError(
                f"A program takes rows and state parts of widths {[program.input_size, *program.state_sizes]} and "
                f"{len(program.sources)} sources. Got widths {got} and {len(sources)} sources."
            )
        for name, shape, source in zip(program.sources, program.shapes, sources):
            if tuple(source.shape) != tuple(shape):
                raise EngineError(
                    f"Weight '{name}' must have shape {tuple(shape)}. Got {tuple(source.shape)}."
                )


def backward(
    text: str,
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
    made, batch = _as_ran(text, kept), (values, *_dense(offsets, index))
    grads = native.backward(made, *batch, output, kept[0], tensors, dy, d_finals, needs, lend=False)
    return [g for g in grads if g is not None]


def backward_shapes(
    text: str,
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


def setup(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    text, _, values, offsets, index, tensors = inputs
    made = call_of(text)
    count = 1 + sum(len(s.program.state_sizes) for s in made.streams)
    ctx.call, ctx.states, ctx.inputs = text, count - 1, len(tensors)
    ctx.needs = [values.requires_grad, *(t.requires_grad for t in tensors)]
    ctx.save_for_backward(values, offsets, index, output[0], *tensors, *output[count:])


def gradient(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    made = call_of(ctx.call)
    if not made.training or (ctx.needs[0] and not made.input_gradient):
        raise EngineError(
            "This graph was made without gradients of its inputs or weights. Export or trace it with gradients "
            "enabled, and with an input and weights that require them."
        )
    values, offsets, index, output, *rest = ctx.saved_tensors
    tensors, kept = rest[: ctx.inputs], rest[ctx.inputs :]
    d_results = grads[: 1 + ctx.states]

    def of(d_results: Sequence[Any]) -> list[Any]:
        dy, *d_finals = d_results
        batch = values, offsets, index
        found = iter(
            torch.ops.unspool.backward(ctx.call, ctx.needs, kept, *batch, output, tensors, dy, d_finals)
        )
        return [next(found) if need else None for need in ctx.needs]

    if torch.is_grad_enabled():  # create_graph=True
        if surroundings.traced() or surroundings.is_fake(values):
            raise EngineError(
                "A second derivative cannot be traced, nor carried out on fake tensors. Differentiate once there, or "
                "build the layer with engine='eager'."
            )
        made = _as_ran(ctx.call, kept)
        each: Sequence[Any] = again.gradients(made, values, offsets, index, tensors, d_results, ctx.needs)
    else:
        each = one_by_one(of, d_results) if any(map(is_mapped, d_results)) else of(d_results)
    return None, None, each[0], None, None, list(each[1:])


def _as_ran(text: str, kept: list[Tensor]) -> native.Call:
    """The call that a forward ran, by what it kept."""
    if len(kept) > 1:
        from unspool.engine import compiled

        text = compiled.marked(text, kept[1])
    return call_of(text)
