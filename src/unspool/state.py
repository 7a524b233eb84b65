"""States as flat lists: a state is a tensor or a (nested, perhaps named) tuple of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unspool.errors import DataError


def flatten(state: Any) -> list[Tensor]:
    """The tensors of a state, depth first."""
    if isinstance(state, Tensor):
        return [state]
    if not isinstance(state, (tuple, list)):
        raise TypeError(
            f"A state must be a tensor or a tuple of tensors, which a NamedTuple is. Got {type(state).__name__}. "
            "Return from the cell's forward what initial_state returns."
        )
    return [leaf for part in state for leaf in flatten(part)]


def unflatten(like: Any, leaves: Sequence[Tensor]) -> Any:
    """`leaves` in the shape of the state `like`."""
    if isinstance(like, Tensor):
        return leaves[0]
    if len(like) == len(leaves) and all(isinstance(part, Tensor) for part in like):
        return _named(like, leaves)

    def build(node: Any, rest: Iterator[Tensor]) -> Any:
        return next(rest) if isinstance(node, Tensor) else _named(node, [build(part, rest) for part in node])

    return build(like, iter(leaves))


def _named(like: Any, parts: Sequence[Any]) -> Any:
    """`parts` as a tuple, a NamedTuple where `like` is one."""
    make = None if type(like) is tuple else getattr(type(like), "_make", None)
    return tuple(parts) if make is None else make(parts)


def widths(state: Any) -> Any:
    """The width of each part, nested as the state is."""
    if not isinstance(state, Tensor):
        return _named(state, [widths(part) for part in state])
    if state.dim() != 2:
        raise DataError(
            f"A state must have parts of shape (B, width). Got one of shape {tuple(state.shape)}."
        )
    return int(state.shape[1])


def of_widths(nested: Any) -> Any:
    """Zeros (1, width) for each part, nested as `widths` gives them."""
    if isinstance(nested, int):
        return torch.zeros(1, nested, dtype=torch.float32, device="cpu")
    return _named(nested, [of_widths(part) for part in nested])
