"""Cells as they were published, written as a user would write them. Sizes: input F, hidden H, a multiple of 4."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from . import (
    published_choices,
    published_dynamics,
    published_gates,
    published_matrices,
    published_spaces,
    published_times,
    published_variants,
)
from .user_cells import UserCell

PARTS = (
    published_gates,
    published_dynamics,
    published_matrices,
    published_variants,
    published_spaces,
    published_choices,
    published_times,
)
CELLS: list[Callable[[int, int], nn.Module]] = [
    made
    for part in PARTS
    for made in vars(part).values()
    if isinstance(made, type) and issubclass(made, UserCell) and made is not UserCell
]
