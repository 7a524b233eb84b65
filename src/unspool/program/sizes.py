"""Whether a step means the same for every size of the batch: what is traced are two small ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspool.state import flatten, unflatten

LARGE = 257  # rows
MOST = 1 << 18  # numbers of the input and the state together
TOLERANCE = 1e-2  # of the largest number: products of other sizes round otherwise, branches differ by more


def same_alone(cell: nn.Module, input_size: int, like: Any, batch: int) -> bool:
    """Whether the first of some random sequences, by itself and among many, has the new state it has among `batch`.

    The step is known to change nothing and to draw nothing. What it raises for `batch` sequences tells nothing; what
    it raises for another number of them does. Numbers that are not finite are not compared, nor those without memory.
    """
    leaves = flatten(like)
    widths = [input_size, *(leaf.shape[1] for leaf in leaves)]
    place = next((p.device for p in cell.parameters()), leaves[0].device)
    if place.type != "cpu":
        return True
    draws = torch.Generator(place).manual_seed(0)
    parts = [torch.rand(batch, n, generator=draws, dtype=leaves[0].dtype, device=place) - 0.5 for n in widths]

    def new(rows: int) -> list[Tensor]:
        x, *state = (part.repeat(rows // batch + 1, 1)[:rows].requires_grad_().clone() for part in parts)
        return [leaf.detach()[:1] for leaf in flatten(cell(x, unflatten(like, state)))]

    try:
        expected = new(batch)
    except Exception:
        return True
    try:
        return all(all(map(_close, new(rows), expected)) for rows in (1, LARGE) if rows * sum(widths) <= MOST)
    except Exception:
        return False


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    finite = a.isfinite() & b.isfinite()
    if not finite.any():
        return True
    a, b = a[finite], b[finite]
    return bool((a - b).abs().max() <= TOLERANCE * b.abs().max() + 1e-6)
