"""Mogrifier LSTM: input and state gate each other before the step (Melis et al. 2020, arXiv:1909.01792).

x⁰ = x, h⁰ = h; for k = 1 ... rounds:
xᵏ = 2 σ(Q_k hᵏ⁻¹) ⊙ xᵏ⁻¹      for odd k       (h stays)
hᵏ = 2 σ(R_k xᵏ⁻¹) ⊙ hᵏ⁻¹      for even k      (x stays)
Then an LSTM step of the last x and h, gate order i, f, g, o.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import check_int


class MogrifierLSTMCell(Cell):
    """x (B, F), state (h (B, H), c (B, H)) -> (h', c').

    rounds: how often they gate each other, default 5, the paper's best; 0 is an LSTM.
    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1.
    """

    gates = ("i", "f", "g", "o")
    state_names = ("h", "c")
    parameter_formula = "4 * H * (F + H + 1) + 5 * F * H"
    open_gates = ("f",)

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, rounds: int = 5, **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.rounds = check_int("MogrifierLSTMCell", "rounds", rounds, 0)
        rows, F, H = 4 * self.hidden_size, self.input_size, self.hidden_size
        self._weights(
            weight_ih=(rows, F),
            weight_hh=(rows, H),
            bias=(rows,) if bias else None,
            **{f"weight_{k}": (F, H) if k % 2 else (H, F) for k in range(1, self.rounds + 1)},
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        for k in range(1, self.rounds + 1):
            weight = self._parameters[f"weight_{k}"]
            assert weight is not None
            if k % 2:
                x = 2 * torch.sigmoid(linear(h, weight)) * x
            else:
                h = 2 * torch.sigmoid(linear(x, weight)) * h
        gates = linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
