"""minGRU: a GRU whose gate and candidate see the input alone (Feng et al. 2024, arXiv:2410.01201, plain form).

z = σ(W_iz x + b_z)
n = W_in x + b_n
h' = (1 - z) ⊙ h + z ⊙ n                z is the share of the new state

The paper's log-space form, in which the candidate is kept positive, is another function and not this one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell


class MinGRUCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H). `start`: `gate_bias` and `init` of `Cell`."""

    gates = ("z", "n")
    parameter_formula = "2 * H * (F + 1)"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **start: Any) -> None:
        super().__init__(input_size, hidden_size, **start)
        rows = 2 * self.hidden_size
        self._weights(weight_ih=(rows, self.input_size), bias=(rows,) if bias else None)
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        z, n = linear(x, self.weight_ih, self.bias).chunk(2, dim=-1)
        z = torch.sigmoid(z)
        return (1 - z) * state + z * n
