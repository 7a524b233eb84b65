"""One step of the RNN, GRU and LSTM: by numbers worked by hand, against torch.nn's cells, in numpy; wrong arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unspool import cells
from unspool.errors import InvalidParameterError

F, H, B = 4, 5, 3
LN3 = math.log(3.0)  # sigmoid(ln 3) = 3/4, tanh(ln 3) = (9 - 1) / (9 + 1) = 4/5


def set_weights(cell: nn.Module, **values: list) -> None:
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.copy_(torch.tensor(values[name], dtype=torch.float32))


def one(value: float) -> Tensor:
    return torch.tensor([[value]])


def test_rnn_by_hand() -> None:
    """z = 2 · 0.5 + 0.5 - 1 · 2 + (ln 3 + 0.5) = ln 3; tanh z = 0.8; relu z = ln 3, relu of -z = 0."""
    cell = cells.RNNCell(1, 1)
    set_weights(cell, weight_ih=[[2.0]], weight_hh=[[-1.0]], bias_ih=[0.5], bias_hh=[LN3 + 0.5])
    assert cell(one(0.5), one(2.0)).item() == pytest.approx(0.8, abs=1e-6)
    cell.nonlinearity = "relu"
    assert cell(one(0.5), one(2.0)).item() == pytest.approx(LN3, abs=1e-6)
    assert cell(one(-5.0), one(2.0)).item() == 0.0  # -10 + 0.5 - 2 + 1.6 < 0


def test_lstm_by_hand() -> None:
    """Gate order i, f, g, o; x = 1, h = 2, c = 0.4, only biases and one weight are not zero.

    i = σ(ln 3) = 0.75; f = σ(-ln 3) = 0.25; g = tanh(2 · ln 3 / 2) = 0.8; o = σ(1 · ln 3) = 0.75
    c' = 0.25 · 0.4 + 0.75 · 0.8 = 0.7; h' = 0.75 · tanh(0.7) = 0.75 · 0.6043678 = 0.4532758
    """
    cell = cells.LSTMCell(1, 1)
    set_weights(
        cell,
        weight_ih=[[0.0], [0.0], [0.0], [LN3]],
        weight_hh=[[0.0], [0.0], [LN3 / 2], [0.0]],
        bias_ih=[LN3, -LN3, 0.0, 0.0],
        bias_hh=[0.0, 0.0, 0.0, 0.0],
    )
    h, c = cell(one(1.0), (one(2.0), one(0.4)))
    assert c.item() == pytest.approx(0.7, abs=1e-6)
    assert h.item() == pytest.approx(0.4532758, abs=1e-6)


@pytest.mark.parametrize("reset_after, expected", [(True, 0.8), (False, 0.8)])
def test_gru_by_hand(reset_after: bool, expected: float) -> None:
    """Gate order r, z, n; x = 1, h = 2.

    r = σ(-ln 3) = 0.25; z = σ(ln 3) = 0.75
    reset after the product:  n = tanh(ln 3 / 2 + 0.25 · (ln 3 / 2 · 2 + ln 3)) = tanh(ln 3 / 2 + ln 3 / 2) = 0.8
    reset before it, b_hn = ln 3 / 4:  n = tanh(ln 3 / 2 + ln 3 / 2 · (0.25 · 2) + ln 3 / 4) = tanh(ln 3) = 0.8
    h' = 0.25 · 0.8 + 0.75 · 2 = 1.7
    """
    cell = cells.GRUCell(1, 1, reset_after=reset_after)
    set_weights(
        cell,
        weight_ih=[[-LN3], [0.0], [LN3 / 2]],
        weight_hh=[[0.0], [LN3 / 2], [LN3 / 2]],
        bias_ih=[0.0, 0.0, 0.0],
        bias_hh=[0.0, 0.0, LN3 if reset_after else LN3 / 4],
    )
    assert cell(one(1.0), one(2.0)).item() == pytest.approx(0.25 * expected + 0.75 * 2, abs=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "ours, theirs, options",
    [
        (cells.LSTMCell, nn.LSTMCell, {}),
        (cells.GRUCell, nn.GRUCell, {}),
        (cells.RNNCell, nn.RNNCell, {"nonlinearity": "tanh"}),
        (cells.RNNCell, nn.RNNCell, {"nonlinearity": "relu"}),
    ],
)
def test_torchs_cells(ours: type[nn.Module], theirs: type[nn.Module], options: dict, bias: bool) -> None:
    torch.manual_seed(0)
    mine: Any
    mine, reference = ours(F, H, bias=bias, **options).double(), theirs(F, H, bias=bias, **options).double()
    mine.load_state_dict(reference.state_dict())
    x = torch.randn(B, F, dtype=torch.float64)
    state = [torch.randn(B, H, dtype=torch.float64) for _ in mine.state_sizes]
    given = tuple(state) if len(state) > 1 else state[0]
    torch.testing.assert_close(mine(x, given), reference(x, given), rtol=1e-12, atol=1e-12)


def test_lstm_with_projection() -> None:
    """One step of torch.nn.LSTM with proj_size."""
    torch.manual_seed(0)
    mine, reference = cells.LSTMCell(F, H, proj_size=2), nn.LSTM(F, H, proj_size=2)
    mine.load_state_dict({name.removesuffix("_l0"): p for name, p in reference.state_dict().items()})
    x, h, c = torch.randn(B, F), torch.randn(B, 2), torch.randn(B, H)
    got = mine(x, (h, c))
    _, expected = reference(x[None], (h[None], c[None]))
    torch.testing.assert_close(got, tuple(e[0] for e in expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_gru_of_2014_in_numpy(bias: bool) -> None:
    """The paper's equations, gate by gate, each with its own matrices (torch has no such cell)."""
    torch.manual_seed(0)
    cell = cells.GRUCell(F, H, bias=bias, reset_after=False).double()
    x, h = np.random.default_rng(0).normal(size=(2, B, max(F, H)))
    x, h = x[:, :F], h[:, :H]
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}

    def gate(k: int, values: np.ndarray, state: np.ndarray) -> np.ndarray:
        rows = slice(k * H, (k + 1) * H)
        out = np.einsum("hf,bf->bh", weights["weight_ih"][rows], values)
        out += np.einsum("hk,bk->bh", weights["weight_hh"][rows], state)
        return out + (weights["bias_ih"][rows] + weights["bias_hh"][rows] if bias else 0.0)

    r, z = (1 / (1 + np.exp(-gate(k, x, h))) for k in (0, 1))
    expected = (1 - z) * np.tanh(gate(2, x, r * h)) + z * h
    np.testing.assert_allclose(cell(torch.tensor(x), torch.tensor(h)).detach().numpy(), expected, rtol=1e-12)


def test_unknown_cell() -> None:
    with pytest.raises(InvalidParameterError, match="Did you mean 'lstm'"):
        cells.get("lsmt")


@pytest.mark.parametrize(
    "make",
    [
        lambda: cells.LSTMCell(0, 3),
        lambda: cells.GRUCell(3, 0),
        lambda: cells.RNNCell(3, 2.5),  # type: ignore[arg-type]
        lambda: cells.RNNCell(3, 2, nonlinearity="cosine"),
        lambda: cells.LSTMCell(3, 2, activation="tan"),
        lambda: cells.LSTMCell(3, 2, recurrent_activation="hard"),
        lambda: cells.GRUCell(3, 2, activation="tan"),
        lambda: cells.GRUCell(3, 2, recurrent_activation="hard"),
        lambda: cells.LSTMCell(3, 4, proj_size=4),
        lambda: cells.LSTMCell(3, 4, proj_size=-1),
        lambda: cells.PeepholeLSTMCell(3, 4, peepholes="g"),
        lambda: cells.PeepholeLSTMCell(3, 4, peepholes="ii"),
        lambda: cells.LayerNormRNNCell(3, 4, nonlinearity="cosine"),
        lambda: cells.LayerNormRNNCell(3, 4, eps=0.0),
        lambda: cells.LayerNormGRUCell(3, 4, eps=-1e-5),
        lambda: cells.LayerNormLSTMCell(3, 4, eps=1.0),
        lambda: cells.IndRNNCell(3, 4, nonlinearity="cosine"),
        lambda: cells.LeakyRNNCell(3, 4, leak=0.0),
        lambda: cells.LeakyRNNCell(3, 4, leak=1.5),
        lambda: cells.LeakyRNNCell(3, 4, leak=1.0, learn_leak=True),
        lambda: cells.LeakyRNNCell(3, 4, nonlinearity="cosine"),
        lambda: cells.SLSTMCell(3, 4, forget_gate="tanh"),
        lambda: cells.SLSTMCell(3, 4, heads=3),
        lambda: cells.MLSTMCell(3, 4, heads=3),
        lambda: cells.MLSTMCell(3, 4, forget_gate="tanh"),
        lambda: cells.MogrifierLSTMCell(3, 4, rounds=-1),
        lambda: cells.CfCCell(1, 4, elapsed=True),
        lambda: cells.GRUDCell(1, 4, elapsed=True),
        lambda: cells.PhasedLSTMCell(1, 4, elapsed=True),
        lambda: cells.PhasedLSTMCell(3, 4, ratio=0.0),
        lambda: cells.PhasedLSTMCell(3, 4, leak=1.0),
        lambda: cells.StackedCell([]),
        lambda: cells.StackedCell([nn.Linear(3, 4)]),
        lambda: cells.StackedCell([cells.RNNCell(3, 4), cells.RNNCell(3, 4)]),
    ],
)
def test_arguments_out_of_range(make) -> None:
    with pytest.raises(InvalidParameterError, match="parameter of"):
        make()
