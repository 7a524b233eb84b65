"""minLSTM: gates and candidate see the input alone, and the gates share 1 (Feng et al. 2024, arXiv:2410.01201).

i = σ(W_ii x + b_i),  f = σ(W_if x + b_f)
g = W_ig x + b_g
h' = f / (f + i) ⊙ h + i / (f + i) ⊙ g

The plain form of the paper, not the log-space one, which keeps the candidate positive. The quotient is computed as
f / (f + i) = σ(log f - log i), which stays exact where both gates are shut.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid

from unspool.cells.base import Cell


class MinLSTMCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1.
    """

    gates = ("i", "f", "g")
    parameter_formula = "3 * H * (F + 1)"
    open_gates = ("f",)

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **start: Any) -> None:
        super().__init__(input_size, hidden_size, **start)
        rows = 3 * self.hidden_size
        self._weights(weight_ih=(rows, self.input_size), bias=(rows,) if bias else None)
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        i, f, g = linear(x, self.weight_ih, self.bias).chunk(3, dim=-1)
        keep = torch.sigmoid(logsigmoid(f) - logsigmoid(i))
        return keep * state + (1 - keep) * g
