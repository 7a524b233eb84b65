"""The native engine: programs over ragged batches in compiled code, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unspool import _native
from unspool.engine import again, memory
from unspool.engine.plan import Plan, make_plan
from unspool.errors import EngineError
from unspool.program.ir import Program


@dataclass
class Stream:
    """One direction of a call: a program and where its operands stand in the call's list of tensors."""

    program: Program
    reverse: bool
    sources: list[int]  # indices of the program's sources that it uses

    def plan(self, training: bool, input_gradient: bool) -> Plan:
        plans, key = self.program.plans, (training, input_gradient)
        if key not in plans:
            plans[key] = make_plan(self.program, training, input_gradient)
        return plans[key]


@dataclass
class Call:
    """What does not change between a call's forward and its backward."""

    streams: list[Stream]
    training: bool
    input_gradient: bool
    once: bool = False  # gradients of gradients are an error, not the plain loop's
    precision: str = "float32"  # of what products multiply; states, sums and weights are float32
    out_widths: list[int] = field(init=False)
    native: Any = field(init=False)
    plans: list[Plan] = field(init=False)

    def __post_init__(self) -> None:
        self.plans = [s.plan(self.training, self.input_gradient) for s in self.streams]
        self.out_widths = [s.program.state_sizes[0] for s in self.streams]
        rows = [(p.native, s.reverse, s.sources) for s, p in zip(self.streams, self.plans)]
        known = self.streams[0].program.plans
        key = (
            "call",
            self.training,
            self.precision,
            *((id(program), reverse) for program, reverse, _ in rows),
        )
        self.native = known.get(key)
        if self.native is None:  # it holds the programs that the key names by identity
            self.native = known[key] = _native.Call(rows, self.training, _native.FORMS[self.precision])

    def flat(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """`tensors` with the initial state parts contiguous."""
        flat = list(tensors)
        at = 0
        for s in self.streams:
            for k in range(at, at + len(s.program.state_sizes)):
                flat[k] = flat[k].contiguous()
            at += len(s.program.state_sizes) + len(s.sources)
        return flat


def info() -> dict[str, Any]:
    """The instruction set in use, those this machine has, floats in a vector, and threads."""
    return {
        "isa": _native.isa(),
        "isas": _native.isas(),
        "vector_floats": _native.lanes(),
        "threads": torch.get_num_threads(),
        "thread_pool": _native.threads_of(),
        "threads_wait": _native.waits_how(),
    }


def bfloat16_gain(seconds: float = 0.05) -> float:
    """Multiply-adds of bfloat16 a second by those of float32, of one thread with every sum in a register."""
    form = _native.FORMS["bfloat16"]
    return max(_native.peak_flops(seconds, 1, form) for _ in range(2)) / max(
        _native.peak_flops(seconds, 1) for _ in range(2)
    )


def run(
    call: Call, values: Tensor, offsets: Tensor, index: Tensor | None, tensors: list[Tensor]
) -> tuple[Tensor, list[list[Tensor]]]:
    """Output (N, sum of widths) and the final state parts of each stream.

    tensors: for each stream its initial state parts (B, width), then its sources.
    """
    if call.training:
        results = _Run.apply(call, values, offsets, index, *tensors)
    else:
        results, _ = forward(call, values, offsets, index, tensors)
    finals, at = [], 1
    for s in call.streams:
        finals.append(list(results[at : at + len(s.program.state_sizes)]))
        at += len(s.program.state_sizes)
    return results[0], finals


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Call, values: Tensor, offsets: Tensor, index: Any, *tensors: Tensor) -> Any:
        results, kept = forward(call, values, offsets, index, tensors)
        ctx.call, ctx.inputs = call, len(tensors)
        ctx.save_for_backward(values, offsets, index, results[0], *tensors, *kept)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, dy: Any, *d_finals: Any) -> Any:
        values, offsets, index, output, *rest = ctx.saved_tensors
        tensors, kept = rest[: ctx.inputs], rest[ctx.inputs :]
        needs = ctx.needs_input_grad
        if torch.is_grad_enabled() and not ctx.call.once:  # create_graph=True
            wanted = [needs[1], *needs[4:]]
            grads = again.gradients(ctx.call, values, offsets, index, tensors, [dy, *d_finals], wanted)
        else:
            grads = backward(ctx.call, kept, values, offsets, index, output, tensors, dy, d_finals, needs)
            if torch.is_grad_enabled():
                grads = _once(grads)
        return (None, grads[0], None, None, *grads[1:])


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *grads: Tensor) -> Any:
        return tuple(g.clone() for g in grads)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise EngineError(
            "The native engine has first derivatives only. Got a second one. "
            "Build the layer with engine='auto' to differentiate twice."
        )


def _once(grads: list[Any]) -> list[Any]:
    """The gradients as values that complain when they are differentiated again."""
    given = [g.requires_grad_() for g in grads if g is not None]
    wrapped = iter(_Once.apply(*given))
    return [None if g is None else next(wrapped) for g in grads]


def _rows(tensor: Tensor) -> Tensor:
    """`tensor` (N, F) with the features of a row side by side; of other axes, as it is."""
    beside = tensor.dim() != 2 or tensor.stride(1) == 1 or tensor.shape[1] == 1
    return tensor if beside else tensor.contiguous()


def forward(
    call: Call,
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    tensors: Sequence[Any],
    lend: bool = True,
    frozen: Callable[..., None] | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """The results, and what the backward needs: in lent memory, or with `lend=False` in memory of its own.

    What is kept: of each stream the rows (N, width) of every state part but the first, pstash, lstash.
    frozen: runs the call's streams with weights of its own; `tensors` are then the initial states alone.
    """
    own = memory.lend if lend else memory.empty
    batch = offsets.shape[0] - 1
    rows = values.shape[0]
    tokens = rows if index is None else index.shape[0]
    results, kept = [own(tokens, sum(call.out_widths))], []
    for stream, plan in zip(call.streams, call.plans):
        results += [memory.empty(batch, width) for width in stream.program.state_sizes]
        if call.training:
            kept += [own(tokens, width) for width in stream.program.state_sizes[1:]]
            kept += [own(rows, plan.widths["pstash"]), own(tokens, plan.widths["lstash"])]
    values, threads = _rows(values), torch.get_num_threads()
    if frozen is not None:
        frozen(values, offsets, index, tensors, results, threads=threads)
    else:
        call.native.forward(values, offsets, index, call.flat(tensors), results, kept, threads)
    return results, kept


def backward(
    call: Call,
    kept: Sequence[Tensor],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    output: Tensor,
    tensors: Sequence[Tensor],
    dy: Tensor | None,
    d_finals: Sequence[Tensor | None],
    needs: Sequence[bool],
    lend: bool = True,
) -> list[Tensor | None]:
    """The gradients of the values, and of each of `tensors`; as `forward` in lent memory, or with `lend=False` not."""
    own = memory.lend if lend else memory.empty
    tokens, rows = output.shape[0], values.shape[0]
    if dy is not None:
        dy = dy.contiguous() if dy.stride(0) == 0 else _rows(dy)
    dx = [own(*values.shape) for _ in call.streams] if call.input_gradient else None
    grads: list[Tensor | None] = []
    work: list[Tensor] = []
    for d, (stream, plan) in enumerate(zip(call.streams, call.plans)):
        states = len(grads) + len(stream.program.state_sizes)
        for k in range(len(grads), states + len(stream.sources)):
            gradient = own(*tensors[k].shape) if needs[4 + k] else None
            grads.append(gradient.zero_() if gradient is not None and k >= states else gradient)
        work += [own(tokens, plan.widths["bstash"]), own(tokens, plan.widths["pgrad"])]
        work.append(own(rows, plan.widths["pbstash"]))
        if dx is not None and not plan.reaches_input:
            dx[d].zero_()
    call.native.backward(
        _rows(values),
        offsets,
        index,
        output,
        call.flat(tensors),
        kept,
        dy,
        [None if g is None else g.contiguous() for g in d_finals],
        dx,
        grads,
        work,
        torch.get_num_threads(),
    )
    if dx is None or not needs[1]:
        return [None, *grads]
    for other in dx[1:]:
        dx[0].add_(other)
    return [dx[0], *grads]
