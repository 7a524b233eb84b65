"""States of an affine step by an associative scan over time, and its gradient by the same scan from the end."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from unspool.engine.triton.run import first_derivatives_only

STEPS, COLUMNS = 64, 32  # of a block


@triton.jit
def _after(a, b, c, d):
    """The step (c, d) after the step (a, b)."""
    return a * c, b * c + d


@triton.jit
def _scan(
    scales,
    shifts,
    states,
    output,
    finals,
    batch,
    count,
    LATER: tl.constexpr,
    REVERSE: tl.constexpr,
    WIDTH: tl.constexpr,
    STEPS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """output (N, WIDTH): s = a s + b along each sequence, from its state on.

    LATER: 1 where a is that of the step before, and 1 at the first; else 0.
    An instance takes one sequence and COLUMNS units, STEPS at a time.
    """
    row = tl.program_id(0)
    sequence, start = tl.load(batch + row), tl.load(batch + count + row)
    length = tl.load(batch + 2 * count + row)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < WIDTH
    state = tl.load(states + sequence * WIDTH + column, mask=real, other=0.0)
    for first in range(0, length, STEPS):
        t = first + tl.arange(0, STEPS)
        live = (t < length)[:, None] & real[None, :]
        token = start + (length - 1 - t if REVERSE else t)
        before = token + LATER if REVERSE else token - LATER
        seen = live & (t >= LATER)[:, None]
        a = tl.load(scales + before[:, None] * WIDTH + column[None, :], mask=seen, other=1.0)
        b = tl.load(shifts + token[:, None] * WIDTH + column[None, :], mask=live, other=0.0)
        a, b = tl.associative_scan((a, b), 0, _after)
        s = a * state[None, :] + b
        tl.store(output + token[:, None] * WIDTH + column[None, :], s, mask=live)
        last = tl.minimum(first + STEPS, length) - 1
        state = tl.sum(tl.where((t == last)[:, None], s, 0.0), 0)
    tl.store(finals + sequence * WIDTH + column, state, mask=real)


def _launch(
    scales: Tensor, shifts: Tensor, states: Tensor, batch: Tensor, reverse: bool, later: int
) -> tuple[Tensor, Tensor]:
    output, finals = torch.empty_like(shifts), torch.empty_like(states)
    width = shifts.shape[1]
    grid = (batch.shape[1], -(-width // COLUMNS))
    sizes = {"LATER": later, "REVERSE": reverse, "WIDTH": width, "STEPS": STEPS, "COLUMNS": COLUMNS}
    _scan[grid](scales, shifts, states, output, finals, batch, batch.shape[1], **sizes)
    return output, finals


class Scan(torch.autograd.Function):
    """(a (N, H), b (N, H), state (B, H)) -> (states after each token (N, H), final states (B, H))."""

    @staticmethod
    def forward(
        ctx: Any, batch: Tensor, reverse: bool, scales: Tensor, shifts: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        scales, shifts, states = scales.contiguous(), shifts.contiguous(), states.contiguous()
        ctx.reverse = reverse
        if not len(shifts):
            ctx.save_for_backward(batch, scales, states, shifts)
            return shifts.clone(), states.clone()
        output, finals = _launch(scales, shifts, states, batch, reverse, 0)
        ctx.save_for_backward(batch, scales, states, output)
        return output, finals

    @staticmethod
    def backward(ctx: Any, d_output: Tensor, d_finals: Tensor) -> Any:
        """g = dy + a' g', where ' is the step after; the gradients of a, b and the first state: g s, g and a g."""
        first_derivatives_only()
        batch, scales, states, output = ctx.saved_tensors
        if not len(output):
            return None, None, torch.zeros_like(scales), torch.zeros_like(scales), d_finals
        g, _ = _launch(scales, d_output.contiguous(), d_finals.contiguous(), batch, not ctx.reverse, 1)
        sequence, start, length = batch[:, batch[2] > 0]
        first = start + length - 1 if ctx.reverse else start
        before = output.roll(-1 if ctx.reverse else 1, 0).index_copy_(0, first, states[sequence])
        d_states = d_finals.index_copy(0, sequence, (scales * g)[first])
        return None, None, g * before, g, d_states
