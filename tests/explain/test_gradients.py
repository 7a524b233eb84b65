"""Gradient norms over time against rates worked by hand and against autograd through the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn as torch_nn

from unspool import Ragged, cells, nn
from unspool.errors import DataError, InvalidParameterError
from unspool.study import gradient_flow, plot_gradient_flow

LENGTH = 40


class Scaled(torch_nn.Module):
    """h' = act(U h + x), U a random orthogonal matrix times `radius`, so that every singular value is `radius`."""

    def __init__(self, hidden_size: int, radius: float, activation: Any) -> None:
        super().__init__()
        self.hidden_size, self.activation = hidden_size, activation
        start = torch.empty(hidden_size, hidden_size, dtype=torch.float64)
        self.weight = torch_nn.Parameter(radius * torch_nn.init.orthogonal_(start))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.hidden_size, dtype=self.weight.dtype)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.activation(h @ self.weight.T + x)


def flow_of(cell: Any, scale: float = 1.0, **options: Any) -> np.ndarray:
    torch.manual_seed(0)
    x = scale * torch.randn(4, LENGTH, 8, dtype=torch.float64)
    return gradient_flow({"cell": cell.double()}, x, seeds=2, **options).norms["cell"]


@pytest.mark.parametrize("radius", [0.9, 1.0, 1.1])
def test_a_linear_cell_decays_and_grows_at_its_spectral_radius(radius: float) -> None:
    """d(w · h_T)/d h_{T-k} = w U^k, and |w U^k| = radius^k for an orthogonal matrix times radius and |w| = 1."""
    expected = radius ** np.arange(LENGTH)
    norms = flow_of(Scaled(8, radius, lambda a: a * 1.0))
    np.testing.assert_allclose(norms, np.tile(expected, (2, 1)), rtol=1e-10)
    # d h_t / d x_t is 1 here, so that the input's gradient is the state's.
    np.testing.assert_allclose(flow_of(Scaled(8, radius, lambda a: a * 1.0), of="input"), norms, rtol=1e-10)
    flow = gradient_flow({"cell": Scaled(8, radius, lambda a: a * 1.0)}, torch.randn(2, LENGTH, 8), seeds=1)
    assert flow.rate("cell") == pytest.approx(radius, rel=1e-5)


@pytest.mark.parametrize("radius", [0.9, 1.1])
def test_tanh_is_bounded_by_the_linear_rate_and_reaches_it_at_small_values(radius: float) -> None:
    """tanh' <= 1 gives |gradient| <= radius^k; for inputs of 1e-6 tanh' is 1 - 1e-8 or nearer to 1."""
    expected = radius ** np.arange(LENGTH)
    norms = flow_of(Scaled(8, radius, torch.tanh))
    assert (norms <= expected * (1 + 1e-12)).all() and (norms[:, 20:] < 0.5 * expected[20:]).all()
    np.testing.assert_allclose(
        flow_of(Scaled(8, radius, torch.tanh), scale=1e-6), np.tile(expected, (2, 1)), rtol=1e-4
    )


def test_an_lstm_without_weights_by_hand() -> None:
    """All weights 0, forget bias b: c' = σ(b) c + 0.5 · 0 stays 0, and h_T = 0.5 tanh(c_T).

    So d(w · h_T)/d c_{T-k} = 0.5 σ(b)^k w for k >= 1, nothing reaches h_{T-k}, and at k = 0 it is w itself.
    """
    cell = cells.LSTMCell(8, 4)
    for parameter in cell.parameters():
        torch_nn.init.zeros_(parameter)
    for bias in (0.0, 1.0, 3.0):
        torch_nn.init.constant_(cell.bias_ih[4:8], bias)
        expected = 0.5 * torch.sigmoid(torch.tensor(bias).double()).item() ** np.arange(LENGTH)
        expected[0] = 1.0
        np.testing.assert_allclose(flow_of(cell), np.tile(expected, (2, 1)), rtol=1e-10)


def test_gates_help() -> None:
    """At distance 50, with the weights that training starts from: LSTM above RNN by 10 times or more, at every seed;
    and a forget bias of 1, not the gates alone, does it."""
    makers = {
        "rnn": "rnn",
        "lstm": "lstm",
        "no bias": lambda f, h: cells.LSTMCell(f, h, gate_bias={"f": 0.0}),
    }
    flow = gradient_flow(makers, length=60, hidden_size=32, batch_size=8, seeds=3)
    at = {name: rows[:, 50] for name, rows in flow.norms.items()}
    assert (at["lstm"] > 10 * at["rnn"]).all() and (at["no bias"] < at["rnn"]).all()
    assert flow.rate("lstm") > 0.75 > flow.rate("rnn") > flow.rate("no bias")


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "slstm"])
def test_the_inputs_gradient_is_autograds_through_the_layer(name: str) -> None:
    torch.manual_seed(0)
    cell = cells.get(name)(3, 4).double()
    x = torch.randn(1, 7, 3, dtype=torch.float64)
    flow = gradient_flow({"cell": cell}, x, seeds=1, of="input").norms["cell"][0]
    torch.manual_seed(0)
    w = torch.randn(1, 4, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    output, _ = nn.Recurrent(cell, engine="eager")(leaf)
    (output[:, -1] * w / w.norm()).sum().backward()
    np.testing.assert_allclose(flow, leaf.grad[0].norm(dim=1).flip(0).numpy(), rtol=1e-10)


def test_uneven_lengths_count_where_they_reach() -> None:
    """Linear, radius 0.5: with lengths 3 and 6, still 0.5^k everywhere; a mean over both up to k = 2."""
    cell = Scaled(8, 0.5, lambda a: a * 1.0)
    x = Ragged.from_list([torch.randn(3, 8), torch.randn(6, 8), torch.zeros(0, 8)])
    norms = gradient_flow({"cell": cell}, x, seeds=1).norms["cell"][0]
    np.testing.assert_allclose(norms, 0.5 ** np.arange(6), rtol=1e-5)


def test_the_same_data_and_seeds_for_every_cell() -> None:
    flow = gradient_flow({"a": "gru", "b": "gru", "c": cells.GRUCell}, length=8, hidden_size=5, seeds=2)
    assert np.array_equal(flow.norms["a"], flow.norms["b"]) and np.array_equal(
        flow.norms["a"], flow.norms["c"]
    )
    assert not np.array_equal(flow.norms["a"][0], flow.norms["a"][1])
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    gradient_flow(length=3, seeds=1)
    assert torch.equal(torch.rand(2), expected)


def test_errors_and_plot(tmp_path) -> None:
    with pytest.raises(InvalidParameterError, match="Did you mean 'lstm'"):
        gradient_flow(["lstn"])
    with pytest.raises(InvalidParameterError, match="'of' parameter"):
        gradient_flow(of="output")
    with pytest.raises(InvalidParameterError, match="'length' parameter"):
        gradient_flow(length=0)
    with pytest.raises(DataError, match="x holds no step"):
        gradient_flow(x=Ragged(torch.zeros(0, 3), [0, 0, 0]))
    flow = gradient_flow(["rnn", "lstm"], length=12, hidden_size=4, seeds=2)
    plot_gradient_flow(tmp_path / "flow.png", flow)
    assert (tmp_path / "flow.png").stat().st_size > 10_000
