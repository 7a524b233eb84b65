"""The plain loop: the cell's own forward, one call a step, on the rows still alive. The slow twin of `native`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unspool.arrays import numbers
from unspool.errors import DataError
from unspool.state import flatten, unflatten


def run(
    cell: Callable[[Tensor, Any], Any], values: Tensor, offsets: Tensor, state: Any, reverse: bool = False
) -> tuple[Tensor, Any]:
    """Run `cell` over every sequence.

    values (N, F), offsets (B+1,) int64, state of (B, ·) parts -> output (N, H), final state. A sequence of
    length 0 keeps its state. `reverse` runs each sequence from its end; rows keep their place.
    """
    device = values.device
    starts = offsets[:-1].to(device)
    lengths = offsets.diff()
    order = torch.argsort(lengths, descending=True, stable=True)
    sorted_lengths = numbers(lengths[order])
    order = order.to(device)
    starts, ends = starts[order], starts[order] + lengths.to(device)[order] - 1

    alive = len(sorted_lengths)
    leaves = [leaf[order] for leaf in flatten(state)]
    outputs: list[Tensor] = []
    rows: list[Tensor] = []
    finished: list[list[Tensor]] = []
    for step in range(sorted_lengths[0] if sorted_lengths else 0):
        while sorted_lengths[alive - 1] <= step:
            alive -= 1
        if leaves[0].shape[0] > alive:
            finished.append([leaf[alive:] for leaf in leaves])
            leaves = [leaf[:alive] for leaf in leaves]
        at = ends[:alive] - step if reverse else starts[:alive] + step
        new = flatten(cell(values.index_select(0, at), unflatten(state, leaves)))
        if [leaf.shape for leaf in new] != [leaf.shape for leaf in leaves]:
            was, got = ([tuple(leaf.shape) for leaf in parts] for parts in (leaves, new))
            raise DataError(
                f"A cell must return a state like the one it takes, the output as its first part, and nothing else. "
                f"It takes parts of shape {was}. Got {got}."
            )
        leaves = new
        outputs.append(leaves[0])
        rows.append(at)
    finished.append(leaves)
    back = torch.argsort(order)
    final = [torch.cat([part[k] for part in reversed(finished)])[back] for k in range(len(leaves))]
    if not outputs:
        return values.new_zeros(0, leaves[0].shape[1]), unflatten(state, final)
    return torch.cat(outputs)[torch.argsort(torch.cat(rows))], unflatten(state, final)
