"""The short way is left as soon as a layer, its weights or its settings are not as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import cells
from unspool.engine import dispatch
from unspool.nn import LSTM, Recurrent

from .ready_layers import B, F, H, inputs, made, numbers, ready, same


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def replaced(layer: Any) -> None:
    name, weight = next(iter(layer.named_parameters()))
    *path, last = name.split(".")
    setattr(layer.get_submodule(".".join(path)), last, nn.Parameter(weight.detach() / 2))


def in_place(layer: Any) -> None:
    with torch.no_grad():
        next(layer.parameters()).mul_(0.5)


def other_data(layer: Any) -> None:
    weight = next(layer.parameters())
    weight.data = weight.detach() / 2


def parametrized(layer: Any) -> None:
    name = next(iter(dict(layer.named_parameters())))
    *path, last = name.split(".")
    nn.utils.parametrize.register_parametrization(layer.get_submodule(".".join(path)), last, Doubled())


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a weight replaced": replaced,
    "a weight in place": in_place,
    "a weight's data": other_data,
    "half the weights frozen": lambda layer: next(layer.parameters()).requires_grad_(False),
    "no gradients": lambda layer: layer.requires_grad_(False),
    "parametrized": parametrized,
}


@pytest.mark.parametrize("name", ["LSTM", "GRU, both", "Recurrent", "Recurrent, both", "Recurrent, own"])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(name: str, change: str) -> None:
    layer, x = made(name, batch_first=True), inputs()["padded"]
    before = [numbers(layer, x) for _ in range(2)][1]
    assert ready(layer)
    CHANGES[change](layer)
    after = numbers(layer, x)
    cold = copy.deepcopy(layer)
    assert not ready(cold)
    assert same(after, numbers(cold, x)) and not same(after, before)


def test_settings_of_a_layer() -> None:
    layer, x = made("Recurrent"), inputs()["padded"]
    numbers(layer, x), numbers(layer, x)
    layer.reverse = True
    assert torch.equal(layer(x)[0], Recurrent(layer.cell, reverse=True)(x)[0])
    layer.cell = cells.LSTMCell(F, H)
    assert torch.equal(layer(x)[0], Recurrent(layer.cell, reverse=True)(x)[0])
    layer.cell.activation = "relu"
    assert torch.equal(layer(x)[0], Recurrent(copy.deepcopy(layer.cell), reverse=True)(x)[0])
    layer(x)
    assert ready(layer)
    layer.cell.register_forward_hook(lambda *_: None)
    layer.engine = "auto"
    assert "hooks" in layer.explain_path(x)
    dispatch._warned.discard(cells.LSTMCell)  # another test may have been warned
    with pytest.warns(match="hooks"):
        layer(x)
    assert not ready(layer)


def test_a_cell_that_starts_elsewhere() -> None:
    layer, x = made("Recurrent"), inputs()["padded"]
    layer(x), layer(x)
    ones = (torch.ones(B, H), torch.ones(B, H))
    expected = layer(x, ones)[0]
    layer.cell.initial_state = lambda batch_size: (torch.ones(batch_size, H), torch.ones(batch_size, H))
    assert torch.equal(layer(x)[0], expected)
    del layer.cell.initial_state
    layer.start = lambda batch_size: (torch.ones(batch_size, H), torch.ones(batch_size, H))
    assert torch.equal(layer(x)[0], expected)


def test_noise_is_drawn_at_every_call() -> None:
    layer, x = Recurrent(cells.LSTMCell(F, H), recurrent_dropout=0.5), inputs()["padded"]
    for _ in range(2):
        assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    still = [layer(x)[0] for _ in range(3)]
    assert ready(layer) and torch.equal(still[0], still[2])
    layer.train()
    assert not torch.equal(layer(x)[0], still[0]) and not torch.equal(layer(x)[0], layer(x)[0])
    zoned = Recurrent(cells.LSTMCell(F, H), zoneout=0.5).eval()
    assert torch.equal(zoned(x)[0], zoned(x)[0]) and not ready(zoned)


def test_dropout_between_layers() -> None:
    layer, x = LSTM(F, H, 3, dropout=0.5, batch_first=True), inputs()["padded"]
    torch.manual_seed(3)
    first = layer(x)[0]
    torch.manual_seed(3)
    assert ready(layer) and torch.equal(layer(x)[0], first)
    assert not torch.equal(layer(x)[0], first)
