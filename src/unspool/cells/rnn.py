"""The plain recurrent cell (Elman 1990).

h' = φ(W_ih x + b_ih + W_hh h + b_hh)        φ = tanh, relu, ...
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.errors import check_choice


class RNNCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    nonlinearity: φ, "tanh" (default), "relu" or another of `cells.ACTIVATIONS`.
    start: `gate_bias` and `init` of `Cell`.
    """

    gates = ("h",)
    parameter_formula = "H * (F + H + 2)"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.nonlinearity = check_choice("RNNCell", "nonlinearity", nonlinearity, ACTIVATIONS)
        size = self.hidden_size
        biases = (size,) if bias else None
        self._weights(
            weight_ih=(size, self.input_size), weight_hh=(size, size), bias_ih=biases, bias_hh=biases
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        z = linear(x, self.weight_ih, self.bias_ih) + linear(state, self.weight_hh, self.bias_hh)
        return ACTIVATIONS[self.nonlinearity](z)
