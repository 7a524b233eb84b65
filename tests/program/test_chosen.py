"""Choices and gradients of a step's own follow what they are made of, from call to call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool.nn import Recurrent


class Places(nn.Module):
    """Places in a buffer, in a plain tensor, and written down."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("registered", torch.tensor([2, 0, -2]))
        self.plain = torch.tensor([0, 0, 1])

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 3)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return x[:, self.registered] + 0.1 * h[:, self.plain] + x[:, [1, 1, 0]]


def test_places_that_change() -> None:
    cell, x = Places(), torch.randn(1, 4, 3)
    layer, plain = Recurrent(cell, engine="native"), Recurrent(cell, engine="eager")
    for tensor, places in ((cell.plain, [0, 0, 1]), (cell.registered, [1, 1, 1]), (cell.plain, [2, 2, 2])):
        tensor.copy_(torch.tensor(places))
        torch.testing.assert_close(layer(x)[0], plain(x)[0])


class Spike(torch.autograd.Function):
    height = 0.3

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        return g * Spike.height * torch.clamp(1 - v.abs(), min=0)


class Spiking(Places):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return Spike.apply(x + 0.3 * h)


def test_what_a_backward_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, found = torch.randn(2, 4, 3), []
    for height in (0.3, 0.9):
        monkeypatch.setattr(Spike, "height", height)
        for engine in ("native", "eager"):
            given = x.clone().requires_grad_()
            Recurrent(Spiking(), engine=engine)(given)[0].sum().backward()
            found.append(given.grad)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[2], found[3])
    assert not torch.allclose(found[0], found[2])
