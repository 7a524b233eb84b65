"""Offsets of a batch of sequences: whole numbers on the CPU, whatever surrounds the call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from unspool.arrays import MAPPED, is_mapped, numbers
from unspool.errors import DataError, described


def as_numbers(name: str, given: Any) -> Tensor:
    """A dense tensor on the CPU; `DataError` for what torch makes none of."""
    try:
        made = torch.as_tensor(given, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"The {name} must be ints: a tensor, a list or a numpy array of the machine's byte order. "
            f"Got {described(given)}."
        ) from error
    if made.layout is not torch.strided or made.is_quantized or made.is_complex():
        raise DataError(f"The {name} must be ints in a dense tensor. Got {made.dtype}, {made.layout}.")
    return made


def own_offsets(values: Tensor, offsets: Tensor | Sequence[int]) -> Tensor:
    """(B + 1,) int64: a copy of `offsets` on the CPU; `DataError` where they do not fit values (N, ...).

    Offsets that have no numbers yet, since what is traced runs later, are not compared.
    """
    if isinstance(offsets, Tensor) and offsets.is_meta:
        raise DataError("The offsets must have numbers. Got some on the 'meta' device.")
    if isinstance(offsets, Tensor) and is_mapped(offsets):
        raise DataError(MAPPED)
    with keeping_numbers(offsets):
        given = as_numbers("offsets", offsets)
    if given.numel() and (given.is_floating_point() or given.dtype == torch.bool):
        raise DataError(f"The offsets must be ints. Got {given.dtype}.")
    with keeping_numbers(given):
        own = given.to(torch.int64, copy=True, memory_format=torch.contiguous_format)
    if own.dim() != 1 or own.shape[0] == 0:
        raise DataError(f"The offsets must have shape (B + 1,). Got {tuple(own.shape)}.")
    if not _traced(own):
        with keeping_numbers(given):
            _check(values, own)
    return own


def offsets_of(lengths: Any) -> Tensor:
    """(B,) lengths -> (B + 1,) offsets."""
    lengths = as_numbers("lengths", lengths).to(torch.int64)
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def count_up(count: int) -> Tensor:
    """0 ... count - 1, where offsets are, whatever torch's default device."""
    return torch.arange(count, dtype=torch.int64, device="cpu")


def checked_lengths(lengths: Any, size: int, steps: int) -> Tensor:
    """(size,) int64; `DataError` where they are not whole numbers from 0 to `steps`."""
    lengths = as_numbers("lengths", lengths)
    whole = not lengths.is_floating_point() and lengths.dtype != torch.bool
    if lengths.shape != (size,) or not (whole or size == 0):
        raise DataError(
            f"lengths must be {size} ints, one a sequence. Got {lengths.dtype}, shape {tuple(lengths.shape)}."
        )
    if size and (int(lengths.min()) < 0 or int(lengths.max()) > steps):
        raise DataError(f"lengths must be in [0, {steps}]. Got {int(lengths.min())} to {int(lengths.max())}.")
    return lengths.to(torch.int64)


def keeping_numbers(offsets: Any) -> AbstractContextManager[Any]:
    """Offsets with numbers keep them where torch makes fake tensors, which have shapes alone."""
    if torch.compiler.is_compiling() or not torch._C._len_torch_dispatch_stack():
        return nullcontext()
    beside = _mode("FAKE") is not None and not _is_fake(offsets)
    return _disable_current_modes() if beside else nullcontext()


def _mode(name: str) -> Any:
    """torch's mode of this kind that is on; None: none is."""
    return torch._C._get_dispatch_mode(getattr(torch._C._TorchDispatchModeKey, name))


def _is_fake(tensor: Any) -> bool:
    return getattr(tensor, "fake_mode", None) is not None


def _traced(offsets: Tensor) -> bool:
    """Whether the offsets have no numbers now, but will have where what is traced runs."""
    return torch.compiler.is_compiling() or _is_fake(offsets) or _mode("PROXY") is not None


def _check(values: Tensor, offsets: Tensor) -> None:
    if values.dim() == 0:
        raise DataError("The values of a Ragged need a time axis. Got a single number.")
    if offsets[0] != 0 or offsets[-1] != len(values) or bool((offsets.diff() < 0).any()):
        shown = numbers(offsets)
        raise DataError(
            f"The offsets must go from 0 to the number of steps, {len(values)}, and never down. "
            f"Got values of shape {tuple(values.shape)} and offsets {shown[:4]} ... {shown[-1]}."
        )
