"""The native engine: programs over ragged batches in compiled code, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unspool import _native
from unspool.engine import memory
from unspool.engine.memory import Loan, borrow
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
    out_widths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out_widths = [s.program.state_sizes[0] for s in self.streams]

    def plans(self) -> list[Plan]:
        return [s.plan(self.training, self.input_gradient) for s in self.streams]

    def split(self, tensors: Sequence[Any]) -> list[tuple[list[Any], list[Any]]]:
        """(initial state parts, sources) of each stream, from one flat list."""
        parts, at = [], 0
        for s in self.streams:
            n, m = len(s.program.state_sizes), len(s.sources)
            parts.append((list(tensors[at : at + n]), list(tensors[at + n : at + n + m])))
            at += n + m
        return parts


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
        results, kept = forward(call, values, offsets, index, list(tensors))
        ctx.call, ctx.kept = call, kept
        ctx.save_for_backward(values, offsets, index, results[0], *tensors)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, dy: Any, *d_finals: Any) -> Any:
        values, offsets, index, output, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad
        grads = backward(ctx.call, ctx.kept, values, offsets, index, output, tensors, dy, d_finals, needs)
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
            "Build the layer with engine='eager' to differentiate twice."
        )


def _once(grads: list[Any]) -> list[Any]:
    """The gradients as values that complain when they are differentiated again."""
    given = [g.requires_grad_() for g in grads if g is not None]
    wrapped = iter(_Once.apply(*given))
    return [None if g is None else next(wrapped) for g in grads]


def _rows(tensor: Tensor) -> Tensor:
    """`tensor` (N, F) with the features of a row side by side."""
    return tensor if tensor.stride(1) == 1 or tensor.shape[1] == 1 else tensor.contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def batch_row(values: Tensor, offsets: Tensor, index: Tensor | None) -> list[int]:
    """A batch as native/bindings.cpp reads it."""
    tokens = values.shape[0] if index is None else index.shape[0]
    shape = [values.stride(0), values.shape[0], _address(index), torch.get_num_threads()]
    return [offsets.shape[0] - 1, tokens, offsets.data_ptr(), values.data_ptr(), *shape]


def _parameters(tensors: list[Tensor], grads: list[Tensor | None]) -> list[int]:
    flat = []
    for t, g in zip(tensors, grads):
        two = t.dim() == 2
        flat += [t.data_ptr(), t.stride(0) if two else 0, t.stride(-1) if t.dim() else 1]
        flat += [_address(g), t.shape[-1] if t.dim() else 1]
    return flat


def _full(stream: Stream, sources: list[Any]) -> list[Any]:
    """The sources at the places that the program knows them by."""
    full: list[Any] = [None] * (max(stream.sources, default=-1) + 1)
    for at, tensor in zip(stream.sources, sources):
        full[at] = tensor
    return full


_NOTHING = torch.empty(0)


def parameter_rows(stream: Stream, sources: list[Tensor], grads: list[Tensor | None]) -> list[int]:
    """Five numbers for each source of the program, as native/bindings.cpp lists them; the first is its address."""
    full = [_NOTHING if t is None else t for t in _full(stream, sources)]
    return _parameters(full, [None] * len(full) if not grads else _full(stream, grads))


@dataclass
class Kept:
    """What a stream's forward leaves for its backward."""

    state_rows: list[Tensor | None]
    pstash: Tensor | None = None
    lstash: Tensor | None = None
    loans: list[Loan] = field(default_factory=list)


def pack_kept(kept: list[Kept]) -> list[Tensor]:
    """What streams keep, as a flat list: state rows after the first, pstash, lstash; nothing without training."""
    flat: list[Tensor] = []
    for k in kept:
        if k.pstash is not None and k.lstash is not None:
            flat += [*(rows for rows in k.state_rows if rows is not None), k.pstash, k.lstash]
    return flat


def unpack_kept(call: Call, flat: Sequence[Tensor]) -> list[Kept]:
    """The inverse of `pack_kept` for a training call."""
    kept, at = [], 0
    for stream in call.streams:
        rows = len(stream.program.state_sizes) - 1
        kept.append(Kept([None, *flat[at : at + rows]], flat[at + rows], flat[at + rows + 1]))
        at += rows + 2
    return kept


def forward(
    call: Call,
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    tensors: list[Tensor],
    lend: bool = True,
    frozen: Callable[..., None] | None = None,
) -> tuple[list[Tensor], list[Kept]]:
    """The results, and what the backward needs: in lent memory, or with `lend=False` in tensors of its own.

    frozen: runs the call's streams with weights of its own, in the place of those in `tensors`.
    """
    values = _rows(values)
    own = memory.lend if lend else memory.empty
    batch = offsets.shape[0] - 1
    tokens = values.shape[0] if index is None else index.shape[0]
    total = sum(call.out_widths)
    output = own(tokens, total)
    results, kept, alive = [output], [], []
    streams: list[Any] = []
    column = 0
    for stream, plan, (initial, sources) in zip(call.streams, call.plans(), call.split(tensors)):
        initial = [t.contiguous() for t in initial]
        alive.append(initial)
        keep = Kept([None])
        loans = keep.loans if lend else None
        states = []
        for k, (width, start) in enumerate(zip(stream.program.state_sizes, initial)):
            final = values.new_empty(batch, width)
            results.append(final)
            if k == 0:
                rows, stride = output.data_ptr() + 4 * column, total
            elif call.training:
                keep.state_rows.append(borrow(loans, tokens, width))
                rows, stride = _address(keep.state_rows[k]), width
            else:
                rows, stride = 0, 0
            states += [rows, stride, start.data_ptr(), final.data_ptr(), 0, 0]
        if call.training:
            keep.pstash = borrow(loans, len(values), plan.widths["pstash"])
            keep.lstash = borrow(loans, tokens, plan.widths["lstash"])
        kept.append(keep)
        buffers = [_address(keep.pstash), _address(keep.lstash), 0, 0, 0, 0, 0, 0]
        if frozen is None:
            parameters = parameter_rows(stream, sources, [])
            streams.append((plan.native, stream.reverse, parameters, states, buffers))
        else:
            streams.append((states, buffers))
        column += call.out_widths[len(kept) - 1]
    run_streams = _native.forward if frozen is None else frozen
    run_streams(batch_row(values, offsets, index), streams)
    return results, kept


def backward(
    call: Call,
    kept: list[Kept],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    output: Tensor,
    tensors: list[Tensor],
    dy: Tensor | None,
    d_finals: Sequence[Tensor | None],
    needs: Sequence[bool],
    lend: bool = True,
) -> list[Tensor | None]:
    """The gradients of the values, and of each of `tensors`; as `forward` in lent memory, or with `lend=False` not."""
    values = _rows(values)
    own = memory.lend if lend else memory.empty
    tokens, total = output.shape
    dy = None if dy is None else _rows(dy)
    if dy is not None and dy.stride(0) == 0 and tokens > 1:
        dy = dy.contiguous()
    dx = values.new_empty(len(call.streams), *values.shape) if call.input_gradient and needs[1] else None
    grads: list[Tensor | None] = []
    streams: list[Any] = []
    alive: list[Any] = []
    loans: list[Loan] = []
    column = at_final = 0
    wanted = iter(needs[4:])
    for d, (stream, plan, keep, (initial, sources)) in enumerate(
        zip(call.streams, call.plans(), kept, call.split(tensors))
    ):
        initial = [t.contiguous() for t in initial]
        states = []
        for k, start in enumerate(initial):
            d_final = d_finals[at_final]
            at_final += 1
            d_final = None if d_final is None else d_final.contiguous()
            d_initial = torch.empty_like(start) if next(wanted) else None
            grads.append(d_initial)
            alive.append((start, d_final))
            rows, stride = (
                (output.data_ptr() + 4 * column, total)
                if k == 0
                else (_address(keep.state_rows[k]), start.shape[1])
            )
            states += [rows, stride, start.data_ptr(), 0, _address(d_final), _address(d_initial)]
        source_grads = [own(*t.shape).zero_() if next(wanted) else None for t in sources]
        grads += source_grads
        bstash = borrow(loans, tokens, plan.widths["bstash"])
        pgrad = borrow(loans, tokens, plan.widths["pgrad"])
        pbstash = borrow(loans, len(values), plan.widths["pbstash"])
        dy_at = 0 if dy is None else dy.data_ptr() + 4 * column
        buffers = [_address(t) for t in (keep.pstash, keep.lstash, bstash, pgrad, pbstash)]
        buffers += [dy_at, 0 if dy is None else dy.stride(0), 0 if dx is None else dx[d].data_ptr()]
        if dx is not None and not plan.reaches_input:
            dx[d].zero_()
        streams.append(
            (plan.native, stream.reverse, parameter_rows(stream, sources, source_grads), states, buffers)
        )
        column += call.out_widths[d]
    _native.backward(batch_row(values, offsets, index), streams)
    return [None if dx is None else dx[0] if len(dx) == 1 else dx.sum(0), *grads]
