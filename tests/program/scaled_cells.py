"""Cells whose step multiplies by a number that it gets from somewhere, and what the engine makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from engine.compare import ragged
from engine.user_cells import UserCell
from torch import Tensor, nn

from unspool.nn import Recurrent

F_IN, H = 4, 5


def helper(x: Tensor) -> Tensor:
    return torch.tanh(x)


class Base(UserCell):
    """A cell whose step multiplies by a number that it gets from somewhere: `scale()`."""

    factor: ClassVar[float] = 1.0
    table: ClassVar[dict[str, float]] = {"scale": 1.0}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sizes = H
        self.a, self.b = nn.Linear(F_IN, H), nn.Linear(H, H)
        self.prepare()

    def prepare(self) -> None:
        pass

    def scale(self) -> Any:
        return 1.0

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return helper(self.a(x) + self.b(h)) * self.scale()


def outputs(cell: nn.Module, engine: str) -> Tensor:
    with torch.no_grad():
        return Recurrent(cell, engine=engine)(ragged(F_IN, (3, 1, 0, 5)))[0].values


def check(cell: nn.Module) -> Tensor:
    """The native engine runs the cell, and computes what the plain loop does."""
    got = outputs(cell, "native")
    torch.testing.assert_close(got, outputs(cell, "eager"), rtol=1e-5, atol=1e-6)
    return got


def made(scale: Callable[[Any], Any], prepare: Callable[[Any], None] = lambda c: None) -> Base:
    """A cell of a class of its own."""
    return type("Made", (Base,), {"scale": scale, "prepare": prepare})()
