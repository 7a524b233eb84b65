"""Dropout masks: the numbers that torch's generator gives, drawn natively, several times as fast as torch draws them.

A dropout of half of what a bidirectional LSTM of 256 units gives took torch a sixth of a training step.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from unspool import _native
from unspool.program import surroundings

LEAST = 1024  # entries of a mask from which on it pays
_drawing = threading.Lock()  # the generator's state is taken, and put back


def drawn(like: Tensor, shape: Sequence[int], rate: float) -> Tensor | None:
    """What dropout multiplies by: 0 with probability `rate`, else 1 / (1 - rate); None where torch is to draw it.

    The entries and the state of the generator afterwards are, bit for bit, those of torch's dropout.
    """
    return _drawn(like, shape, 1 - rate, scaled=True) if 0 < rate < 1 else None


def kept(like: Tensor, shape: Sequence[int], rate: float) -> Tensor:
    """As `drawn`, by torch where the native engine does not draw."""
    mask = drawn(like, shape, rate)
    return F.dropout(like.new_ones(shape), rate) if mask is None else mask


def ones(like: Tensor, shape: Sequence[int], rate: float) -> Tensor:
    """1 with probability `rate`, else 0: the bits of `bernoulli_`."""
    mask = _drawn(like, shape, rate, scaled=False)
    return like.new_empty(shape).bernoulli_(rate) if mask is None else mask


def _drawn(like: Tensor, shape: Sequence[int], share: float, scaled: bool) -> Tensor | None:
    """1 with probability `share`, scaled by its inverse or not, else 0; None where torch is to draw."""
    if torch.compiler.is_compiling():
        return None
    if type(like) not in surroundings.PLAIN or not like.is_cpu or like.dtype is not torch.float32:
        return None
    if not surroundings.calm() or not _agrees():
        return None
    mask = torch.empty(shape, dtype=torch.float32, device="cpu")
    if mask.numel() < LEAST:
        return None
    value = float(mask.new_ones(()).div_(share)) if scaled else 1.0  # as torch rounds it
    with _drawing:
        state = torch.default_generator.get_state()
        _native.keep_mask(state.view(torch.int64), mask.view(-1), mask.numel(), share, value)
        torch.default_generator.set_state(state)
    return mask


@functools.cache
def _agrees() -> bool:
    """Whether this torch draws as the native engine does: one that draws with MKL does not."""
    with surroundings.own():
        generator = torch.Generator(device="cpu").manual_seed(1)
        state = generator.get_state()
        wanted = torch.empty(2000).bernoulli_(0.7, generator=generator)
        mask = torch.empty(2000)
        _native.keep_mask(state.view(torch.int64), mask, len(mask), 0.7, 1.0)
        return torch.equal(mask, wanted) and torch.equal(state, generator.get_state())
