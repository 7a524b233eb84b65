"""The independently recurrent cell: each unit sees its own past only (Li et al. 2018, arXiv:1803.04831).

h' = φ(W_ih x + b + u ⊙ h)        φ = relu, tanh, ...; u is weight_hh, one number a unit
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.errors import check_choice


class IndRNNCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    nonlinearity: φ, "relu" (default), "tanh" or another of `cells.ACTIVATIONS`.
    start: `gate_bias` and `init` of `Cell`; u starts uniform in [0, 1], and nothing bounds it in training.
    """

    gates = ("h",)
    parameter_formula = "H * (F + 2)"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "relu", **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.nonlinearity = check_choice("IndRNNCell", "nonlinearity", nonlinearity, ACTIVATIONS)
        size = self.hidden_size
        self._weights(weight_ih=(size, self.input_size), weight_hh=(size,), bias=(size,) if bias else None)
        self.reset_parameters()

    def reset_parameters(self, scheme: str | None = None) -> None:
        super().reset_parameters(scheme)
        nn.init.uniform_(self.weight_hh, 0.0, 1.0)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return ACTIVATIONS[self.nonlinearity](linear(x, self.weight_ih, self.bias) + self.weight_hh * state)
