"""Layers and inputs of the tests of the short way, and everything that comes of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool.nn import GRU, LSTM, RNN, Recurrent

F, H, B, T = 5, 7, 3, 6


class Own(nn.Module):
    """A step that computes something from its weights, and starts from ones."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(H, F + H) / 3)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.ones(batch_size, H)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(torch.cat([x, state], 1) @ self.weight.tanh().t())


LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": lambda **o: LSTM(F, H, **o),
    "GRU, both": lambda **o: GRU(F, H, bidirectional=True, **o),
    "RNN, 2 layers": lambda **o: RNN(F, H, 2, **o),
    "LSTM, 2 layers, both": lambda **o: LSTM(F, H, 2, bidirectional=True, **o),
    "LSTM, projected": lambda **o: LSTM(F, H, proj_size=4, **o),
    "Recurrent": lambda **o: Recurrent(cells.LSTMCell(F, H), **o),
    "Recurrent, reverse": lambda **o: Recurrent(cells.GRUCell(F, H), reverse=True, **o),
    "Recurrent, both": lambda **o: Recurrent(cells.LSTMCell(F, H), bidirectional=True, **o),
    "Recurrent, summed": lambda **o: Recurrent(cells.LSTMCell(F, H), bidirectional=True, merge="sum", **o),
    "Recurrent, a pair": lambda **o: Recurrent(cells.LSTMCell(F, H), bidirectional=True, merge=None, **o),
    "Recurrent, learned": lambda **o: Recurrent(cells.GRUCell(F, H), initial_state="learned", **o),
    "Recurrent, own": lambda **o: Recurrent(Own(), **o),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return LAYERS[name](**options)


def ready(layer: Any) -> bool:
    return layer.__dict__["_ready"] is not None


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Ragged):
        return [value.values]
    return [value] if isinstance(value, Tensor) else [leaf for part in value for leaf in leaves(part)]


def numbers(layer: Any, x: Any, state: Any = None, of_input: bool = True) -> list[Any]:
    """Outputs, final states, and the gradients of a sum of their squares."""
    inputs = [leaf for leaf in leaves(x) + ([] if state is None else leaves(state)) if leaf.requires_grad]
    for leaf in (*layer.parameters(), *inputs):
        leaf.grad = None
    found = leaves(layer(x, state))
    if any(leaf.requires_grad for leaf in found):
        sum(leaf.square().sum() for leaf in found).backward()
    grads = [leaf.grad for leaf in (*layer.parameters(), *inputs)]
    return [*(leaf.detach() for leaf in found), *grads]


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        (x is None and y is None)
        or (x is not None and y is not None and x.shape == y.shape and torch.equal(x, y))
        for x, y in zip(a, b)
    )


def inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    x = torch.randn(B, T, F)
    return {
        "padded": x,
        "one": x[:1],
        "one step": x[:, :1],
        "with a gradient": x.clone().requires_grad_(),
        "unbatched": x[0],
        "strided": torch.randn(T, F, B).permute(2, 0, 1),
        "every other": torch.randn(B, T, 2 * F)[..., ::2],
        "expanded": x[:, :1].expand(B, T, F),
        "ragged": Ragged(torch.randn(9, F), [0, 4, 4, 9]),
        "ragged, strided": Ragged(torch.randn(F, 9).t(), [0, 4, 4, 9]),
    }
