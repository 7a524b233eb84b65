"""Whatever a backward may read: slices of the input, of the prologue, numbers, parameters, the state itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unspool import Ragged
from unspool.nn import Recurrent

from .compare import _gradient, assert_near, check_engines, random_state
from .user_cells import UserCell

WIDE = 5  # features; the state has parts of 4, 4 and 1 columns


class Free(UserCell):
    """A step given as a function of the cell, x (B, 5) and the state ((B, 4), (B, 4), (B, 1))."""

    def __init__(self, step: Callable[..., Any]) -> None:
        super().__init__()
        self.sizes = (4, 4, 1)
        self.step = step
        self.x, self.h = nn.Linear(WIDE, 4), nn.Linear(4, 4)
        self.key, self.gain = nn.Linear(4, 1), nn.Parameter(torch.tensor([0.5, -0.3, 0.2, 0.7]))

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.step(self, x, *state)


def elapsed(c: Free, x: Tensor, h: Tensor, m: Tensor, s: Tensor) -> Any:
    """The time since the last token, the last column of x, lets the state fade; a mask, the first, holds it."""
    fade = torch.exp(-F.softplus(c.h(h)) * x[:, -1:].abs())
    new = torch.tanh(c.x(x) + c.h(h * fade))
    seen = (x[:, :1] > 0).float()
    return seen * new + (1 - seen) * h, m * x[:, 1:], torch.tanh(s * x[:, :1])


def closed_form(c: Free, x: Tensor, h: Tensor, m: Tensor, s: Tensor) -> Any:
    """As in CfC: sigmoid(a t + b) between two heads."""
    gate = torch.sigmoid(c.h(h) * x[:, :1] + c.x(x))
    return gate * torch.tanh(h) + (1 - gate) * m, torch.tanh(c.h(m)) * x[:, 1:], s + x[:, 2:3] * c.key(h)


STEPS: dict[str, Callable[..., Any]] = {
    "elapsed": elapsed,
    "closed form": closed_form,
    "all of x": lambda c, x, h, m, s: (
        torch.tanh(c.x(x * c.key(h))),
        (x * torch.cat([h, s], 1))[:, 1:],
        s * x[:, :1],
    ),
    "slices of slices": lambda c, x, h, m, s: (
        h * x[:, 1:][:, :4] * x[:, :3][:, 1:2],
        m / (1 + x[:, :4] ** 2),
        s,
    ),
    "a cat of x": lambda c, x, h, m, s: (h * torch.cat([x[:, 3:], x[:, :2]], 1), m * torch.tanh(x[:, :4]), s),
    "gains of x": lambda c, x, h, m, s: (torch.tanh(c.gain * x[:, :4] * h), c.gain * (h * x[:, 1:]), s),
    "an output that is x": lambda c, x, h, m, s: (x[:, :4], torch.tanh(c.h(h) * m), s * x[:, 1:2]),
    "an output of x": lambda c, x, h, m, s: (torch.tanh(x[:, :4]), torch.tanh(x[:, :4]) * h, m[:, 1:2] * s),
    "a constant output": lambda c, x, h, m, s: (torch.full_like(h, 0.5), h * m, torch.ones_like(s)),
    "a parameter as output": lambda c, x, h, m, s: (torch.zeros_like(h) + c.gain, h * m, s * 0.5),
    "functions of parameters": lambda c, x, h, m, s: (
        torch.tanh(torch.zeros_like(h) + c.gain) * h
        + torch.exp(torch.zeros_like(x[:, 1:]) - c.gain) * x[:, 1:],
        torch.sigmoid(torch.zeros_like(h) + c.gain),
        s,
    ),
    "products of parameters": lambda c, x, h, m, s: (
        torch.tanh(c.h(torch.zeros_like(h) + c.gain) + h),
        m * torch.tanh(c.x(torch.ones_like(x))),
        s + c.key(torch.tanh(torch.zeros_like(h) + c.gain)),
    ),
    "products of x in the loop": lambda c, x, h, m, s: (
        torch.tanh(torch.addmm(h, x, c.x.weight.t())),
        torch.addmm(m, torch.tanh(x), c.x.weight.t()) * h,
        torch.addmm(s, x[:, 1:] * x[:, :4], c.key.weight.t()),
    ),
    "kept": lambda c, x, h, m, s: (h, h * x[:, :1] + m, s),
    "changing places": lambda c, x, h, m, s: (m, h, s * x[:, 4:]),
    "one value three times": lambda c, x, h, m, s: ((z := torch.tanh(c.h(h) * x[:, :1])), z, z[:, 2:3]),
    "narrow": lambda c, x, h, m, s: (h * s * x[:, :1], m + s * s, torch.sigmoid(s * x[:, 2:3] + h[:, :1])),
    "outputs that are slices": lambda c, x, h, m, s: (
        (z := torch.tanh(torch.cat([c.h(h), c.x(x)], 1)))[:, 2:6],
        z[:, 4:] * x[:, :4],
        z[:, 7:],
    ),
    "norms of x": lambda c, x, h, m, s: (
        F.layer_norm(x, (WIDE,))[:, 1:] * h,
        torch.softmax(x * torch.cat([s, m], 1), 1)[:, :4],
        (x[:, :4] * h).sum(1, keepdim=True),
    ),
}


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_values_and_gradients(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(5)
    check_engines(Free(STEPS[name]), WIDE, **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", STEPS)
def test_shared_input_rows(name: str, threads: int) -> None:
    """Tokens that share an input row: as if each had a row of its own, of which the gradients add up."""
    torch.manual_seed(5)
    layer = Recurrent(Free(STEPS[name]), bidirectional=True, engine="native")
    offsets = torch.tensor([0, 4, 4, 5, 12])
    index = torch.randint(0, 6, (12,))
    rows = torch.randn(6, WIDE)
    state = random_state((layer.cell.initial_state(4),) * 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = [_run(layer, rows, offsets, state, index), _run(layer, rows, offsets, state, index, own=True)]
    finally:
        torch.set_num_threads(before)
    assert_near(*found)


def _run(layer: Any, rows: Tensor, offsets: Tensor, state: Any, index: Tensor, own: bool = False) -> Any:
    layer.zero_grad()
    rows = rows.clone().requires_grad_()
    values, shared = (rows[index], None) if own else (rows, index)
    output, _ = layer.run(values, offsets, list(state), shared)
    (output * torch.cos(torch.arange(output.numel())).view_as(output)).sum().backward()
    found = {"output": output.detach(), "d input": rows.grad}
    found |= {f"d {n}": p.grad for n, p in layer.named_parameters() if p.grad is not None}
    return found


@pytest.mark.parametrize("name", ["elapsed", "closed form", "gains of x", "products of x in the loop"])
def test_input_without_a_gradient_in_one_long_sequence(name: str) -> None:
    """One sequence, whose prologue other threads make."""
    torch.manual_seed(5)
    cell = Free(STEPS[name])
    x = Ragged(torch.randn(70, WIDE), torch.tensor([0, 70]))
    found = []
    for engine in ("native", "eager"):
        layer = Recurrent(cell, engine=engine)
        layer.zero_grad()
        layer(x)[0].values.sum().backward()
        found.append({f"d {n}": _gradient(p).clone() for n, p in layer.named_parameters()})
    assert_near(*found)
