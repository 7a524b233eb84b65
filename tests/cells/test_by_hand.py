"""One step of the variations, by numbers worked by hand: σ(±ln 3) = 3/4, 1/4; tanh(ln 3) = 4/5."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import cells

LN2, LN3 = math.log(2.0), math.log(3.0)


def of(cell: nn.Module, **values: list) -> Any:
    """The cell in float64 with these weights; the others are 0."""
    cell.double()
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            parameter.copy_(torch.tensor(values.pop(name, 0.0), dtype=torch.float64))
    assert not values
    return cell


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def near(*values: float) -> Any:
    return pytest.approx(list(values), abs=1e-9)


def test_peephole_lstm() -> None:
    """c = 0.5. i = σ(2 ln 3 · 0.5) = 3/4; f = σ(-2 ln 3 · 0.5) = 1/4; g = 4/5; c' = 0.125 + 0.6 = 0.725.

    o = σ(ln 3 / 0.725 · 0.725) = 3/4: the new content opens it. h' = 0.75 tanh(0.725) = 0.75 · 0.6199969
    """
    cell = of(
        cells.PeepholeLSTMCell(1, 1),
        bias_ih=[0.0, 0.0, LN3, 0.0],
        peephole_i=[2 * LN3],
        peephole_f=[-2 * LN3],
        peephole_o=[LN3 / 0.725],
    )
    h, c = cell(row(0.0), (row(0.0), row(0.5)))
    assert c.tolist()[0] == near(0.725)
    assert h.tolist()[0] == pytest.approx([0.75 * 0.6199969], abs=1e-6)


def test_coupled_lstm() -> None:
    """f = 1/4, so i = 3/4; g = 4/5; c' = 0.25 · 0.4 + 0.75 · 0.8 = 0.7; o = 3/4; h' = 0.75 tanh(0.7) = 0.4532758"""
    cell = of(cells.CoupledLSTMCell(1, 1), bias=[-LN3, 0.0, LN3], weight_ih=[[0.0], [LN3], [0.0]])
    h, c = cell(row(1.0), (row(9.0), row(0.4)))
    assert c.tolist()[0] == near(0.7)
    assert h.tolist()[0] == pytest.approx([0.4532758], abs=1e-6)


def test_layer_norm_rnn() -> None:
    """W x + U h = (2, 0) + (1, 1) = (3, 1): mean 2, variance 1; (1, -1) / sqrt(1 + 0.5625) = ±0.8.

    Gains 1.25 ln 3, biases (0, ln 3): tanh(ln 3, 0) = (0.8, 0).
    """
    cell = of(
        cells.LayerNormRNNCell(1, 2, eps=0.5625),
        weight_ih=[[2.0], [0.0]],
        weight_hh=[[1.0, 0.0], [0.0, 1.0]],
        gain=[1.25 * LN3, 1.25 * LN3],
        bias=[0.0, LN3],
    )
    assert cell(row(1.0), row(1.0, 1.0)).tolist()[0] == near(0.8, 0.0)


def test_layer_norm_lstm() -> None:
    """H = 2. W x and U h are constant over their 8 entries, so both normalise to 0, and only biases are left:

    i = 3/4, f = 1/4, g = tanh(±ln 3) = ±4/5; c = (0, 4) -> c' = (0.6, 1 - 0.6) = (0.6, 0.4)
    mean 0.5, deviation 0.1, eps = 0.0225 - 0.01: (0.1, -0.1) / 0.15 = ±2/3; gain 1.5 ln 3: ±ln 3
    h' = σ(ln 3) tanh(±ln 3) = ±0.6
    """
    cell = of(
        cells.LayerNormLSTMCell(1, 2, eps=0.0125),
        weight_ih=[[7.0]] * 8,
        weight_hh=[[1.0, 2.0]] * 8,
        gain_ih=[5.0] * 8,
        gain_hh=[5.0] * 8,
        bias=[LN3, LN3, -LN3, -LN3, LN3, -LN3, LN3, LN3],
        gain_c=[1.5 * LN3] * 2,
    )
    h, c = cell(row(1.0), (row(3.0, 4.0), row(0.0, 4.0)))
    assert c.tolist()[0] == near(0.6, 0.4)
    assert h.tolist()[0] == near(0.6, -0.6)


def test_layer_norm_gru() -> None:
    """H = 1: W_in x is one entry, which normalises to 0; the gates' products are (1, -1) from x and (1, 1) -> 0 from h.

    (1, -1) / sqrt(1 + eps) with eps = 0.5625 is ±0.8; gain 1.25 ln 3: r = 3/4, z = 1/4
    n = tanh(ln 3 / 4 + r · ln 3) = tanh(ln 3) = 0.8 from the candidate's two biases; h' = 0.75 · 0.8 + 0.25 · 2 = 1.1
    """
    cell = of(
        cells.LayerNormGRUCell(1, 1, eps=0.5625),
        weight_ih=[[1.0], [-1.0], [3.0]],
        weight_hh=[[1.0], [1.0], [5.0]],
        gain_ih=[1.25 * LN3] * 3,
        gain_hh=[7.0] * 3,
        bias_ih=[0.0, 0.0, LN3 / 4],
        bias_hh=[0.0, 0.0, LN3],
    )
    assert cell(row(1.0), row(2.0)).tolist()[0] == near(1.1)


def test_mgu() -> None:
    """f = 1/4; n = tanh(ln 3 / 2 + ln 3 · (0.25 · 2)) = 0.8; h' = 0.75 · 2 + 0.25 · 0.8 = 1.7"""
    cell = of(cells.MGUCell(1, 1), weight_ih=[[0.0], [LN3 / 2]], weight_hh=[[0.0], [LN3]], bias=[-LN3, 0.0])
    assert cell(row(1.0), row(2.0)).tolist()[0] == near(1.7)


def test_min_gru() -> None:
    """z = 1/4, n = 2 · 1.5 - 1 = 2; h' = 0.75 · 1 + 0.25 · 2 = 1.25"""
    cell = of(cells.MinGRUCell(1, 1), weight_ih=[[0.0], [2.0]], bias=[-LN3, -1.0])
    assert cell(row(1.5), row(1.0)).tolist()[0] == near(1.25)


def test_min_lstm() -> None:
    """i = 3/4, f = 1/4: h' = 1/4 · 4 + 3/4 · 1 = 1.75; with f = 3/4 too, halves: 2.5"""
    cell = of(cells.MinLSTMCell(1, 1), weight_ih=[[0.0], [0.0], [2.0]], bias=[LN3, -LN3, 0.0])
    assert cell(row(0.5), row(4.0)).tolist()[0] == near(1.75)
    cell = of(cell, weight_ih=[[0.0], [0.0], [2.0]], bias=[LN3, LN3, 0.0])
    assert cell(row(0.5), row(4.0)).tolist()[0] == near(2.5)


def test_ind_rnn() -> None:
    """relu(2 · 3 + 1 + (0.5, -4) ⊙ (4, 2)) = relu(9, -1) = (9, 0)"""
    cell = of(cells.IndRNNCell(1, 2), weight_ih=[[2.0], [2.0]], weight_hh=[0.5, -4.0], bias=[1.0, 1.0])
    assert cell(row(3.0), row(4.0, 2.0)).tolist()[0] == near(9.0, 0.0)


@pytest.mark.parametrize("learn_leak", [False, True])
def test_leaky_rnn(learn_leak: bool) -> None:
    """3/4 · 2 + 1/4 · tanh(ln 3) = 1.7, from W x + b + U h = 2 · ln 3 + ln 3 - 2 · ln 3"""
    weights = {"leak_logit": [-LN3]} if learn_leak else {}
    cell = of(
        cells.LeakyRNNCell(1, 1, leak=0.25, learn_leak=learn_leak),
        weight_ih=[[2.0]],
        weight_hh=[[-LN3]],
        bias=[LN3],
        **weights,
    )
    assert cell(row(LN3), row(2.0)).tolist()[0] == near(1.7)


def test_slstm() -> None:
    """exp(i) = 2, f = σ(0) = 1/2, o = 3/4, z = tanh(x ln 3) with x = 1, then x = -1.

    x = 1:   c = 2 · 0.8 = 1.6, n = 2, h = 0.75 · 1.6 / 2 = 0.6; m = ln 2, so the states are c / 2 = 0.8, n / 2 = 1
    x = -1:  c = 0.5 · 1.6 - 2 · 0.8 = -0.8, n = 0.5 · 2 + 2 = 3, h = 0.75 · -0.8 / 3 = -0.2
             m = max(ln 1/2 + ln 2, ln 2) = ln 2: states -0.4 and 1.5
    """
    cell = of(cells.SLSTMCell(1, 1), weight_ih=[[0.0], [0.0], [LN3], [0.0]], bias=[LN2, 0.0, 0.0, LN3])
    state = cell(row(1.0), cell.initial_state(1))
    assert [part.item() for part in state] == near(0.6, 0.8, 1.0, LN2)
    state = cell(row(-1.0), state)
    assert [part.item() for part in state] == near(-0.2, -0.4, 1.5, LN2)


def test_stack() -> None:
    """IndRNN units: h₁ = relu(1 · 3 + 2 · 1) = 5, then h₂ = relu(2 · 5 + 3 · 4) = 22; the last one's state first."""
    first = of(cells.IndRNNCell(1, 1), weight_ih=[[1.0]], weight_hh=[2.0])
    second = of(cells.IndRNNCell(1, 1), weight_ih=[[2.0]], weight_hh=[3.0])
    top, bottom = cells.StackedCell([first, second])(row(3.0), (row(4.0), row(1.0)))
    assert (top.item(), bottom.item()) == (22.0, 5.0)


def test_mlstm() -> None:
    """One unit, from m = 0: ĩ = ln 2, log f = log σ(ln 3) = ln 3/4; m' = ln 2, i = 1, f = 3/8.

    q = 2, k = 3, v = 0.5: C' = 3/8 · 4 + 1.5 = 3; n' = 3/8 · 8 + 3 = 6; |n' q| = 12 > exp(-m') = 1/2.
    h' = σ(ln 3) · 3 · 2 / 12 = 3/8
    """
    cell = of(cells.MLSTMCell(1, 1), bias=[2.0, 3.0, 0.5, LN3], bias_if=[LN2, LN3])
    h, c, n, m = cell(row(7.0), (row(9.0), row(4.0), row(8.0), row(0.0)))
    assert [h.item(), c.item(), n.item(), m.item()] == near(0.375, 3.0, 6.0, LN2)


def test_slstm_by_heads() -> None:
    """Two heads of one unit: g of each sees its own h alone, tanh(ln 3 · 1) = 4/5 and tanh(ln 3 · 0) = 0.

    ĩ = 0, log f = log σ(0) = -ln 2, m = 0: m' = 0, i = 1, f = 1/2.
    c' = 1/2 · 2 + 4/5 = 1.8 and 1; n' = 1/2 · 2 + 1 = 2.
    h' = 1/2 · 0.9 and 1/2 · 1/2
    """
    cell = of(cells.SLSTMCell(1, 2, heads=2), weight_hh=[[0.0]] * 4 + [[LN3]] * 2 + [[0.0]] * 2)
    h, c, n, _ = cell(row(0.0), (row(1.0, 0.0), row(2.0, 2.0), row(2.0, 2.0), row(0.0, 0.0)))
    assert h.tolist()[0] == near(0.45, 0.25)
    assert c.tolist()[0] == near(1.8, 1.0)
    assert n.tolist()[0] == near(2.0, 2.0)


def test_mogrifier_lstm() -> None:
    """x¹ = 2 σ(ln 3 · 1) x = 1.5; h² = 2 σ(-2/3 ln 3 · 1.5) h = 0.5.

    Then g = tanh(2 ln 3 · 0.5) = 4/5 and i, f, o = 1/2.
    """
    cell = of(
        cells.MogrifierLSTMCell(1, 1, rounds=2),
        weight_1=[[LN3]],
        weight_2=[[-2 / 3 * LN3]],
        weight_hh=[[0.0], [0.0], [2 * LN3], [0.0]],
    )
    h, c = cell(row(1.0), (row(1.0), row(0.4)))
    assert c.item() == pytest.approx(0.6, abs=1e-9)
    assert h.item() == pytest.approx(0.5 * math.tanh(0.6), abs=1e-9)


def test_cfc() -> None:
    """u = 0, so all comes from the biases: g = 4/5, s = -4/5; a t + d = ln 3 · (3 - 2) = ln 3.

    h' = (0.25 - 0.75) · 0.8
    """
    cell = of(cells.CfCCell(2, 1, elapsed=True), bias_out=[LN3, -LN3, LN3, -2 * LN3])
    assert cell(row(0.0, 3.0), row(0.0)).item() == pytest.approx(-0.4, abs=1e-9)


def test_gru_d() -> None:
    """Missing after 2 + 1 steps: γ = exp(-ln 2 / 3 · 3) = 1/2 of the last 4 is 2; γ_h halves h = 1.

    z = σ(0) = 1/2; n = tanh(ln 3 / 2 · 2) = 4/5; h' = 1/4 + 2/5. Seen again, with 5: n = tanh(ln 3 / 2 · 5).
    """
    cell = of(
        cells.GRUDCell(1, 1),
        weight_ih=[[0.0], [0.0], [LN3 / 2]],
        decay=[LN2 / 3],
        weight_ih_decay=[[LN2 / 3]],
    )
    h, last, seen = cell(row(math.nan), (row(1.0), row(4.0), row(2.0)))
    assert [h.item(), last.item(), seen.item()] == near(0.65, 4.0, 3.0)
    h, last, seen = cell(row(5.0), (row(1.0), row(4.0), row(2.0)))
    assert [h.item(), last.item(), seen.item()] == near(0.25 + 0.5 * math.tanh(LN3 / 2 * 5), 5.0, 0.0)


def test_phased_lstm() -> None:
    """Period 8, r = 1/2, α = 0.1. An LSTM's step from c = 0 gives c = 1/2 · 4/5 = 0.4; h = 1.

    At t = 1, φ = 1/8: k = 2 · 1/8 / (1/2) = 1/2; at t = 3, φ = 3/8: k = 2 - 3/2 = 1/2; at t = 6: k = 0.1 · 3/4.
    """
    cell = of(
        cells.PhasedLSTMCell(1, 1, ratio=0.5, leak=0.1), bias=[0.0, 0.0, LN3, 0.0], log_period=[math.log(8.0)]
    )
    whole = 0.5 * math.tanh(0.4)
    for before, k in ((0.0, 0.5), (2.0, 0.5), (5.0, 0.075), (8.0, 0.5)):
        h, c, t = cell(row(0.0), (row(1.0), row(0.0), row(before)))
        assert [h.item(), c.item(), t.item()] == near(k * whole + 1 - k, k * 0.4, before + 1)
