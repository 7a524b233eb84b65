"""The leaky, continuous-time recurrent cell (Funahashi & Nakamura 1993; Jaeger et al. 2007).

τ dh/dt = -h + φ(W_ih x + b + W_hh h), one Euler step of length Δt, leak α = Δt/τ:
h' = (1 - α) ⊙ h + α ⊙ φ(W_ih x + b + W_hh h)        φ = tanh, relu, ...
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.errors import check_choice, check_float


class LeakyRNNCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    leak: α in (0, 1]; default 0.5; 1 is the plain cell.
    learn_leak: learn one α a unit, starting at `leak` (below 1), as σ(leak_logit); default False.
    nonlinearity: φ, "tanh" (default), "relu" or another of `cells.ACTIVATIONS`.
    start: `gate_bias` and `init` of `Cell`.
    """

    gates = ("h",)
    parameter_formula = "H * (F + H + 1)"

    leak_logit: nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        leak: float = 0.5,
        learn_leak: bool = False,
        nonlinearity: str = "tanh",
        **start: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        closed = "neither" if learn_leak else "right"
        self.leak = check_float("LeakyRNNCell", "leak", leak, 0.0, 1.0, closed)
        self.nonlinearity = check_choice("LeakyRNNCell", "nonlinearity", nonlinearity, ACTIVATIONS)
        size = self.hidden_size
        self._weights(
            weight_ih=(size, self.input_size),
            weight_hh=(size, size),
            bias=(size,) if bias else None,
            leak_logit=(size,) if learn_leak else None,
        )
        self.reset_parameters()

    def reset_parameters(self, scheme: str | None = None) -> None:
        super().reset_parameters(scheme)
        if self.leak_logit is not None:
            nn.init.constant_(self.leak_logit, math.log(self.leak / (1 - self.leak)))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        drive = linear(x, self.weight_ih, self.bias) + linear(state, self.weight_hh)
        leak: Any = self.leak if self.leak_logit is None else torch.sigmoid(self.leak_logit)
        return (1 - leak) * state + leak * ACTIVATIONS[self.nonlinearity](drive)
