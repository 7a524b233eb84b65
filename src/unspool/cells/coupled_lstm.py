"""LSTM with coupled gates: what is not forgotten is not written (CIFG in Greff et al. 2017, arXiv:1503.04069).

f, o = σ(W_i· x + b_· + W_h· h)
g = tanh(W_ig x + b_g + W_hg h)
c' = f ⊙ c + (1 - f) ⊙ g
h' = o ⊙ tanh(c')
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell


class CoupledLSTMCell(Cell):
    """x (B, F), state (h (B, H), c (B, H)) -> (h', c').

    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1.
    """

    gates = ("f", "g", "o")
    state_names = ("h", "c")
    parameter_formula = "3 * H * (F + H + 1)"
    open_gates = ("f",)

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **start: Any) -> None:
        super().__init__(input_size, hidden_size, **start)
        rows = 3 * self.hidden_size
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.hidden_size),
            bias=(rows,) if bias else None,
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        gates = linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)
        f, g, o = gates.chunk(3, dim=-1)
        f = torch.sigmoid(f)
        c = f * c + (1 - f) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
