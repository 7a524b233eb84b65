"""What a traced step's gradients are, and which calls end in an error."""

from __future__ import annotations

import pytest
import torch
from engine.compare import ragged

from unspool import Ragged, cells
from unspool.errors import EngineError
from unspool.nn import Recurrent

F_IN, H = 4, 5


def traced() -> tuple[Recurrent, Ragged]:
    torch.manual_seed(0)
    x = ragged(F_IN, (3, 1, 4))
    return Recurrent(cells.LSTMCell(F_IN, H), engine="native"), x.with_values(x.values.requires_grad_())


def test_a_second_derivative_is_an_error() -> None:
    layer, x = traced()
    (first,) = torch.autograd.grad(layer(x)[0].values.square().sum(), x.values, create_graph=True)
    with pytest.raises(EngineError, match="engine='auto'"):
        first.sum().backward()


def test_backward_twice() -> None:
    layer, x = traced()
    total = layer(x)[0].values.sum()
    total.backward(retain_graph=True)
    once = x.values.grad.clone()
    total.backward()
    assert torch.equal(x.values.grad, 2 * once)


def test_frozen_parameters() -> None:
    layer, x = traced()
    layer(x)[0].values.sum().backward()
    expected = layer.cell.weight_ih.grad.clone()
    layer.zero_grad()
    layer.cell.weight_hh.requires_grad_(False)
    layer.cell.bias_ih.requires_grad_(False)
    layer(x)[0].values.sum().backward()
    assert layer.cell.weight_hh.grad is None
    assert layer.cell.bias_ih.grad is None
    torch.testing.assert_close(layer.cell.weight_ih.grad, expected)


def test_input_without_gradient() -> None:
    layer, x = traced()
    layer(x)[0].values.sum().backward()
    expected = layer.cell.weight_hh.grad.clone()
    layer.zero_grad()
    layer(x.with_values(x.values.detach()))[0].values.sum().backward()
    torch.testing.assert_close(layer.cell.weight_hh.grad, expected)


def test_only_the_state_has_a_gradient() -> None:
    layer, x = traced()
    layer.requires_grad_(False)
    state = tuple(torch.randn(3, H, requires_grad=True) for _ in range(2))
    got = torch.autograd.grad(layer(x.with_values(x.values.detach()), state)[1][1].sum(), state)
    plain = Recurrent(layer.cell, engine="eager")
    expected = torch.autograd.grad(plain(x.with_values(x.values.detach()), state)[1][1].sum(), state)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_written_into_between_forward_and_backward() -> None:
    layer, x = traced()
    output = layer(x)[0].values
    total = output.square().sum()
    with torch.no_grad():
        layer.cell.weight_hh.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_spread_gradient() -> None:
    """`sum` sends back one number seen from everywhere (strides 0)."""
    layer, x = traced()
    got = torch.autograd.grad(layer(x)[0].values.sum(), x.values)[0]
    ones = torch.ones(8, H)
    torch.testing.assert_close(got, torch.autograd.grad(layer(x)[0].values, x.values, ones)[0])


def test_inputs_of_any_strides() -> None:
    layer, x = traced()
    wide = torch.randn(8, 2 * F_IN)
    turned = torch.randn(F_IN, 8).t()
    one = torch.randn(1, F_IN).expand(8, F_IN)
    for values in (wide[:, ::2], wide[:, F_IN:], turned, one):
        expected = layer(Ragged(values.contiguous(), x.offsets))[0].values
        assert torch.equal(layer(Ragged(values, x.offsets))[0].values, expected)
