"""The plain recurrent cell (Elman 1990).

h' = φ(W_ih x + b_ih + W_hh h + b_hh)        φ = tanh or relu
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import check_choice


class RNNCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H). `nonlinearity`: "tanh" (default) or "relu"."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.nonlinearity = check_choice("RNNCell", "nonlinearity", nonlinearity, ["tanh", "relu"])
        self._gate_weights(1, bias)
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        z = linear(x, self.weight_ih, self.bias_ih) + linear(state, self.weight_hh, self.bias_hh)
        return torch.tanh(z) if self.nonlinearity == "tanh" else torch.relu(z)
