"""Rows of sequences moved between layouts: end to end, and wherever else they lie in a block of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspool import _native
from unspool.program import surroundings

_MOVED = {
    *(
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
    ),
    *(torch.float32, torch.float64, torch.complex64, torch.complex128),
}


@dataclass(frozen=True)
class Places:
    """Step t of sequence b is row starts[b] + at[t] of a block; where rows are written, no two steps have one.

    offsets (B + 1,) from 0 to total, starts (B,), at (T,) for sequences of up to T steps: contiguous int64 on the CPU.
    """

    offsets: Tensor
    starts: Tensor
    at: Tensor
    total: int

    def index(self) -> Tensor:
        """(N,): the row of each step."""
        lengths = self.offsets.diff()
        first, starts = (
            each.repeat_interleave(lengths, output_size=self.total)
            for each in (self.offsets[:-1], self.starts)
        )
        return starts + self.at[torch.arange(self.total, dtype=torch.int64, device="cpu") - first]


def take(block: Tensor, places: Places) -> Tensor:
    """(N, ...): the rows of `block` (M, ...) at `places`, sequences end to end."""
    if not _natively(block):
        return block.index_select(0, places.index().to(block.device))
    take_them = _Take.apply if _differentiated(block) else _take
    return take_them(block, places)


def put(values: Tensor, places: Places, rows: int, fill: float = 0.0) -> Tensor:
    """(rows, ...): `values` (N, ...) at `places`, and `fill` in all other rows."""
    if not _natively(values):
        block = values.new_full((rows, *values.shape[1:]), fill)
        return block.index_copy_(0, places.index().to(values.device), values)
    put_them = _Put.apply if _differentiated(values) else _put
    return put_them(values, places, rows, fill)


def _natively(x: Tensor) -> bool:
    """Whether `x` is numbers in memory, and nothing looks over what is done with it."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in surroundings.PLAIN
        and x.is_cpu
        and x.layout is torch.strided
        and x.dtype in _MOVED
        and not (x.is_neg() or x.is_conj())
        and surroundings.calm()
        and not torch._C._functorch.is_legacy_batchedtensor(x)  # of is_grads_batched
    )


def _differentiated(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _beside(x: Tensor) -> Tensor:
    """`x` with the numbers of a row side by side."""
    return x if x[:1].is_contiguous() else x.contiguous()


def _take(block: Tensor, places: Places) -> Tensor:
    values = block.new_empty((places.total, *block.shape[1:]))
    _move(values, _beside(block), places, None)
    return values


def _put(values: Tensor, places: Places, rows: int, fill: float) -> Tensor:
    block = values.new_empty((rows, *values.shape[1:]))
    _move(_beside(values), block, places, values.new_full((1,), fill))
    return block


def _move(values: Tensor, block: Tensor, places: Places, fill: Tensor | None) -> None:
    _native.move_rows(values, block, places.offsets, places.starts, places.at, fill, torch.get_num_threads())


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, block: Tensor, places: Places) -> Tensor:
        ctx.places, ctx.rows = places, block.shape[0]
        return _take(block, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return put(gradient, ctx.places, ctx.rows), None


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Places, rows: int, fill: float) -> Tensor:
        ctx.places = places
        return _put(values, places, rows, fill)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return take(gradient, ctx.places), None, None, None
