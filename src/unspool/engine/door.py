"""What every engine needs of a batch, compared before any of them runs. Addresses are made by native/door.cpp alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native
from unspool.arrays import MAPPED, innermost, is_mapped, numbers
from unspool.errors import DataError, EngineError, described
from unspool.state import flatten, unflatten


def batch(values: Tensor, offsets: Any, index: Any) -> tuple[Tensor, Tensor | None]:
    """`offsets` (B+1,) and `index` (N,), contiguous.

    Raises `DataError` or `EngineError` for offsets that are not int64 on the CPU, from 0 to N and never down, or an
    index of other numbers; `IndexError` for one beyond the rows of `values`. An index on another device, or that
    torch.vmap maps over, is torch's to check.
    """
    transformed = torch._C._are_functorch_transforms_active()  # which wrap tensors
    if transformed and is_mapped(offsets):
        raise DataError(MAPPED)
    if not transformed:
        offsets, index = offsets.contiguous(), None if index is None else index.contiguous()
    if index is None:
        tokens = values.shape[0]
    elif index.device.type not in ("cpu", "meta") or values.is_meta or (transformed and is_mapped(index)):
        tokens = index.shape[0]
    else:
        with torch._C._DisableFuncTorch():
            tokens = _native.check_index(innermost(index).contiguous(), values.shape[0])
    if transformed:
        if offsets.is_meta or offsets.dtype not in (torch.int64, torch.int32):
            raise EngineError(
                f"The offsets must be int64 on the CPU. Got {offsets.dtype} on {offsets.device}."
            )
        _native.check_offset_numbers(numbers(offsets), tokens)
    else:
        _native.check_offsets(offsets, tokens)
    return offsets, index


def tensors(values: Tensor, offsets: Any, index: Any) -> None:
    """Raises `TypeError` for offsets, or an index that is not None, that are no dense tensors; `DataError` for offsets
    that are not (B + 1,); `EngineError` for either on the 'meta' device beside values with numbers, of which torch's
    dispatcher would make shapes alone."""
    for name, given in (("offsets", offsets), ("index", index)):
        if name == "index" and given is None:
            continue
        if not isinstance(given, Tensor) or given.layout is not torch.strided:
            raise TypeError(f"The {name} must be a dense tensor. Got {described(given)}.")
        if given.is_meta and not values.is_meta:
            raise EngineError(f"The {name} must have numbers. Got some on the 'meta' device.")
    if offsets.dim() != 1 or offsets.shape[0] == 0:
        raise DataError(f"The offsets must be a tensor (B + 1,). Got shape {tuple(offsets.shape)}.")


def states(given: Sequence[Any], rows: int) -> None:
    """Raises `DataError` for states without parts, or whose parts do not have a row for each of `rows` sequences."""
    shapes = [tuple(leaf.shape) for state in given for leaf in flatten(state)]
    if any(not shape or shape[0] != rows for shape in shapes) or not all(map(flatten, given)):
        raise DataError(
            f"The state must have parts of {rows} rows, one for each sequence of the batch. Got shapes {shapes}."
        )


def with_numbers(tensors: Sequence[Tensor]) -> None:
    """Raises `EngineError` for states and weights on the 'meta' device, which torch would mix with others."""
    if any(t.is_meta for t in tensors):
        raise EngineError(
            "A call needs states and weights with numbers. Got some on the 'meta' device. "
            "Give them numbers first (to_empty, then load_state_dict), or move the input to 'meta' too."
        )


def weights_of_step(cell: nn.Module) -> None:
    """Raises `EngineError` for weights that a compiler would multiply in its own words, or not at all."""
    for name, weight in cell.named_parameters():
        if weight.layout is not torch.strided or weight.is_quantized:
            raise EngineError(
                f"The weights of a step must be dense. Got {name!r} of layout {weight.layout}, {weight.dtype}. "
                "Convert it with .to_dense() or .dequantize()."
            )


def state_of_step(given: Any, like: Any) -> Any:
    """`given`, nested as `like`; `DataError` where its parts are not of the shapes of the parts of `like`."""
    shapes, expected = ([tuple(leaf.shape) for leaf in flatten(state)] for state in (given, like))
    if shapes != expected:
        raise DataError(f"The state must have parts of shape {expected}. Got {shapes}.")
    return unflatten(like, flatten(given))
