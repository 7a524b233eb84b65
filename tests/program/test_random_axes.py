"""Random steps that view, turn, cut, spread, reduce, multiply and write in place: the native engine is the plain loop.

UNSPOOL_RANDOM_AXES=2000 makes more of them than the suite does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged
from unspool.nn import Recurrent

WIDTH = 24
COUNT = int(os.environ.get("UNSPOOL_RANDOM_AXES", "120"))
LARGEST = 400  # numbers of a sequence


def splits(rng: random.Random, n: int) -> list[int]:
    """Factors of n, in random order, at times with ones among them."""
    found = []
    for p in (2, 3, 5, 7, 11, 13, 17, 19, 23):
        while n % p == 0:
            found.append(p)
            n //= p
    found.append(n)
    rng.shuffle(found)
    axes = [1] * rng.randint(1, 4)
    for factor in found:
        axes[rng.randrange(len(axes))] *= factor
    return axes


def axis(rng: random.Random, a: Tensor) -> int:
    return rng.randrange(1, a.dim()) - (a.dim() if rng.random() < 0.5 else 0)


def view(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    shape = splits(rng, a[0].numel())
    return lambda a: a.reshape(len(a), *shape)


def permute(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    order = rng.sample(range(1, a.dim()), a.dim() - 1)
    return lambda a: a.permute(0, *order)


def around(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    """The batch to another place, something there, and back."""
    order = rng.sample(range(a.dim()), a.dim())
    back = [order.index(k) for k in range(a.dim())]
    return lambda a: (a.permute(order) * w[0, 0]).tanh().permute(back)


def cut(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    d = axis(rng, a)
    n = a.shape[d]
    start, step = rng.randrange(n), rng.choice([1, 1, 2, 3])
    at = (slice(None),) * (d % a.dim()) + (slice(start, None, step),)
    return lambda a: a[at] * 1.5


def pick(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    d = axis(rng, a)
    k = rng.randrange(a.shape[d])
    return lambda a: a.select(d, k) if a.dim() > 2 else a.select(d, k).unsqueeze(1)


def spread(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    d, n = rng.randrange(1, a.dim() + 1), rng.choice([2, 3])
    if a[0].numel() * n > LARGEST:
        return lambda a: a
    return lambda a: a.unsqueeze(d).expand(*a.shape[:d], n, *a.shape[d:])


def flip(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    d = axis(rng, a)
    return lambda a: a.flip(d) + a.roll(2, d)


def join(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    d = axis(rng, a)
    if 2 * a[0].numel() > LARGEST:
        return lambda a: a
    return rng.choice([lambda a: torch.cat([a.tanh(), a], d), lambda a: torch.stack([a, a.sigmoid()], d)])


def reduce(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    dims = rng.sample(range(1, a.dim()), rng.randint(1, a.dim() - 1))
    kind = rng.choice(["sum", "mean", "amax", "softmax", "norm"])
    if kind == "softmax":
        return lambda a: a.softmax(dims[0])
    if kind == "norm":
        return lambda a: a / (1 + a.norm(dim=dims[0], keepdim=True))
    return lambda a: a.tanh() + getattr(a, kind)(dims, keepdim=True)


def multiply(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    if a.dim() < 3:
        return lambda a: a @ w[: a.shape[1], :7] if a.shape[1] <= len(w) else a
    if a.shape[-2] ** 2 * (a[0].numel() // (a.shape[-1] * a.shape[-2])) > LARGEST:
        return lambda a: a
    if rng.random() < 0.5 and a.shape[-1] <= len(w):
        return lambda a: a @ w[: a.shape[-1], :5]
    return lambda a: torch.tanh(a) @ a.sigmoid().transpose(-1, -2)


def scale(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    d = axis(rng, a)
    if a.shape[d] > len(w):
        return lambda a: a
    shape = [1] * a.dim()
    shape[d] = a.shape[d]
    return lambda a: a * w[0, : a.shape[d]].view(shape) + w[1, 0]


def write(rng: random.Random, a: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    """Through a view, seen by the whole and by another view."""
    d, e = axis(rng, a), axis(rng, a)
    k, low, step = rng.randrange(a.shape[d]), rng.randrange(a.shape[e]), rng.choice([1, 2])
    part = (slice(None),) * (e % a.dim()) + (slice(low, None, step),)
    kind = rng.randrange(3)

    def apply(a: Tensor) -> Tensor:
        a = a * 0.7
        other = a.transpose(1, -1)
        if kind == 0:
            a.select(d, k).mul_(-1.3)
        elif kind == 1:
            a[part] += 0.4
        else:
            a.select(d, k).copy_(a.select(d, 0).clone() * 2)
            other.add_(0.1)
        return a + other.transpose(1, -1) * 0.5

    return apply


OPS = [view, view, permute, around, cut, pick, spread, flip, join, reduce, multiply, scale, write]


class Program(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        rng = random.Random(seed)
        self.w = nn.Parameter(0.5 * torch.randn(24, 24))
        self.steps: list[Callable[[Tensor], Tensor]] = []
        self.names = []
        a = torch.randn(3, WIDTH)
        for _ in range(rng.randint(3, 9)):
            make = rng.choice(OPS)
            step = make(rng, a, self.w)
            a = step(a).detach()
            self.steps.append(step)
            self.names.append(f"{make.__name__} {tuple(a.shape)}")
        self.width = a[0].numel()

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, self.width), torch.zeros(batch_size, WIDTH)

    def forward(self, x: Tensor, state: Any) -> Any:
        a = out = state[1] + x
        for step in self.steps:
            out = step(out)
        return out.reshape(len(x), -1), 0.5 * a


@pytest.mark.parametrize("first", range(0, COUNT, 20))
def test_native_is_the_plain_loop(first: int) -> None:
    for seed in range(first, first + 20):
        cell = Program(seed)
        values, offsets = torch.randn(5, WIDTH), torch.tensor([0, 2, 2, 5])
        found = []
        for engine in ("native", "eager"):
            x = values.clone().requires_grad_()
            layer = Recurrent(cell, engine=engine)
            output = layer(Ragged(x, offsets))[0].values
            weight = torch.cos(torch.arange(output.numel(), dtype=torch.float32)).view_as(output)
            found.append(
                [output.detach(), *torch.autograd.grad(output, [x, cell.w], weight, allow_unused=True)]
            )
        for got, expected in zip(*found):
            if got is None or expected is None:
                assert all(g is None or not g.any() for g in (got, expected))
                continue
            difference = float((got - expected).abs().max()) / max(1.0, float(expected.abs().max()))
            assert difference < 2e-5, f"seed {seed}: {difference:.1e}; {cell.names}"
