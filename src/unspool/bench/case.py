"""One case of the grid: a cell, its sizes, the form of the batch, and what is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unspool.errors import check_choice, check_int

SHAPES = ("dense", "ragged")
WORKS = ("forward", "training")


@dataclass(frozen=True)
class Case:
    """cell: a name; batch sequences of `length` steps and `features` inputs.

    shape: "dense", or "ragged": lengths uniform from length // 15 (at least 1) to length.
    directions: 1 or 2. work: "forward" (no gradients) or "training" (forward, and gradients of all weights).
    Raises `InvalidParameterError` for a size below 1 or an unknown choice.
    """

    cell: str
    hidden: int = 64
    shape: str = "ragged"
    directions: int = 2
    work: str = "training"
    batch: int = 32
    features: int = 128
    length: int = 150

    def __post_init__(self) -> None:
        for name in ("hidden", "batch", "features", "length"):
            check_int("bench", name, getattr(self, name))
        check_choice("bench", "shape", self.shape, SHAPES)
        check_choice("bench", "work", self.work, WORKS)
        check_choice("bench", "directions", self.directions, (1, 2))

    def __str__(self) -> str:
        both = "both directions" if self.directions == 2 else "one direction"
        return f"{self.cell} {self.hidden}, {self.work}, {self.shape}, {both}, batch {self.batch}"

    def lengths(self) -> Tensor:
        """Steps of each sequence, int64 (B,); the same at every call."""
        if self.shape == "dense":
            return torch.full((self.batch,), self.length)
        generator = torch.Generator().manual_seed(0)
        return torch.randint(max(1, self.length // 15), self.length + 1, (self.batch,), generator=generator)

    def padded(self) -> Tensor:
        """The input, normal random numbers (B, T, F); the same at every call."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.batch, self.length, self.features, generator=generator)

    def but(self, **changes: Any) -> Case:
        """This case with some fields changed."""
        return replace(self, **changes)
