"""The minimal gated unit: one gate that forgets and resets (Zhou et al. 2016, arXiv:1603.09420), order f, n.

f = σ(W_if x + b_f + W_hf h)
n = tanh(W_in x + b_n + W_hn (f ⊙ h))
h' = (1 - f) ⊙ h + f ⊙ n                f is the share of the new state
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell


class MGUCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H). `start`: `gate_bias` and `init` of `Cell`."""

    gates = ("f", "n")
    parameter_formula = "2 * H * (F + H + 1)"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **start: Any) -> None:
        super().__init__(input_size, hidden_size, **start)
        rows = 2 * self.hidden_size
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.hidden_size),
            bias=(rows,) if bias else None,
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        x_f, x_n = linear(x, self.weight_ih, self.bias).chunk(2, dim=-1)
        w_f, w_n = self.weight_hh.chunk(2)
        f = torch.sigmoid(x_f + linear(h, w_f))
        n = torch.tanh(x_n + linear(f * h, w_n))
        return (1 - f) * h + f * n
