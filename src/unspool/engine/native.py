"""The native engine: programs over ragged batches in compiled code, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unspool import _native
from unspool.engine import again
from unspool.engine.mapped import is_mapped, one_by_one
from unspool.engine.plan import Plan, make_plan
from unspool.errors import EngineError
from unspool.program import failures
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
            with failures.ours("laying out a program"):
                plans[key] = make_plan(self.program, training, input_gradient)
        return plans[key]


@dataclass
class Call:
    """What does not change between a call's forward and its backward.

    Its tensors: of each stream the initial state parts (B, width), then its sources; stacked: the parts of all streams,
    (streams, B, width) each, then the sources of each stream. A part may be None: zeros.
    """

    streams: list[Stream]
    training: bool
    input_gradient: bool
    once: bool = False  # gradients of gradients are an error, not the plain loop's
    precision: str = "float32"  # of what products multiply; states, sums and weights are float32
    stacked: bool = False
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
            self.stacked,
            *((id(program), reverse) for program, reverse, _ in rows),
        )
        self.native = known.get(key)
        if self.native is None:  # it holds the programs that the key names by identity
            form = _native.FORMS[self.precision]
            self.native = known[key] = _native.Call(rows, self.training, form, self.stacked)

    def finals(self, results: Sequence[Tensor]) -> list[list[Tensor]]:
        """The final state parts of each stream, of an unstacked call's `results`."""
        found, at = [], 1
        for s in self.streams:
            found.append(list(results[at : at + len(s.program.state_sizes)]))
            at += len(s.program.state_sizes)
        return found

    def kept_floats(self, rows: int, tokens: int) -> int:
        """Numbers that a forward keeps for its backward, in one tensor."""
        widths = [
            (p.widths["pstash"], p.widths["lstash"] + sum(p.program.state_sizes[1:])) for p in self.plans
        ]
        return rows * sum(of_row for of_row, _ in widths) + tokens * sum(of_token for _, of_token in widths)


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
    call: Call, values: Tensor, offsets: Tensor | None, index: Tensor | None, tensors: Sequence[Tensor | None]
) -> Sequence[Tensor]:
    """The output, then the final state parts, in the order of the initial ones among the call's `tensors`.

    values (N, F) with offsets (B + 1,), output (N, sum of widths); or (B, T, F) and None, output (B, T, sum of widths).
    """
    if call.training:
        return _Run.apply(call, values, offsets, index, *tensors)
    return forward(call, values, offsets, index, tensors)


def forward(
    call: Call,
    values: Tensor,
    offsets: Tensor | None,
    index: Tensor | None,
    tensors: Sequence[Tensor | None],
    lend: bool = True,
) -> tuple[Tensor, ...]:
    """As `run`, without a graph; in training the last is what the backward needs.

    What is large lies in lent memory, or with `lend=False` in memory of its own.
    """
    return call.native.forward(values, offsets, index, tensors, lend, torch.get_num_threads())


_hooks = torch._C._autograd._top_saved_tensors_default_hooks  # which may give other memory back


def _storages(tensors: Sequence[Tensor | None]) -> tuple[int, ...]:
    """Which memory the tensors have: autograd does not see where that of a leaf is replaced."""
    return tuple([0 if t is None else t.untyped_storage()._cdata for t in tensors])


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: Call, values: Tensor, offsets: Any, index: Any, *tensors: Tensor | None
    ) -> Any:
        *results, kept = forward(call, values, offsets, index, tensors)
        ctx.call = call
        ctx.storages = None if _hooks(True) is not None else _storages((values, *tensors))
        ctx.save_for_backward(values, offsets, index, results[0], kept, *tensors)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, dy: Any, *d_finals: Any) -> Any:
        if (
            torch.compiler.is_compiling()
        ):  # compiled autograd follows what a backward does, to the native call
            from unspool.engine import compiled

            return compiled.outside(_Run.gradients, ctx, dy, *d_finals)
        return _Run.gradients(ctx, dy, *d_finals)

    @staticmethod
    def gradients(ctx: Any, dy: Any, *d_finals: Any) -> Any:
        values, offsets, index, output, kept, *tensors = ctx.saved_tensors
        call, needs = ctx.call, ctx.needs_input_grad
        wanted = (needs[1], *needs[4:])
        d_results = [d.resolve_neg() if d is not None and d.is_neg() else d for d in (dy, *d_finals)]
        grads: Sequence[Any]
        if torch.is_grad_enabled() and not call.once:  # create_graph=True
            grads = again.gradients(call, values, offsets, index, tensors, d_results, wanted)
        else:

            def of(d_results: Sequence[Any]) -> Sequence[Any]:
                dy, *d_finals = d_results
                return backward(call, values, offsets, index, output, kept, tensors, dy, d_finals, wanted)

            grads = one_by_one(of, d_results) if any(map(is_mapped, d_results)) else of(d_results)
            if torch.is_grad_enabled():
                grads = _once(grads)
        if ctx.storages is not None and _storages((values, *tensors)) != ctx.storages:
            raise EngineError(
                "Weights, state and input of a call must stay until its backward. Got one whose memory was replaced "
                "(.data = ...) after the forward. Replace it after the backward."
            )
        return (None, grads[0], None, None, *grads[1:])


def backward(
    call: Call,
    values: Tensor,
    offsets: Tensor | None,
    index: Tensor | None,
    output: Tensor,
    kept: Tensor,
    tensors: Sequence[Tensor | None],
    dy: Tensor | None,
    d_finals: Sequence[Tensor | None],
    needs: Sequence[bool],
    lend: bool = True,
) -> Sequence[Tensor | None]:
    """The gradients of the values and of each of `tensors` that `needs` them; as `forward` in lent memory, or not."""
    threads = torch.get_num_threads()
    return call.native.backward(
        values, offsets, index, output, kept, tensors, dy, d_finals, needs, lend, threads
    )


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


def _once(grads: Sequence[Any]) -> list[Any]:
    """The gradients as values that complain when they are differentiated again."""
    given = [g.requires_grad_() for g in grads if g is not None]
    wrapped = iter(_Once.apply(*given))
    return [None if g is None else next(wrapped) for g in grads]
