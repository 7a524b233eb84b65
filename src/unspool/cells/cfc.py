"""CfC: a closed-form continuous-time cell (Hasani et al. 2022, arXiv:2106.13898), one hidden layer before its heads.

u = 1.7159 tanh(0.666 (W x + b + U h))           LeCun's tanh, H units
g = tanh(G u + b_g),   s = tanh(S u + b_s)       the paper's g and h
a = A u + b_a,         d = D u + b_d             its f: a rate and a shift
h' = σ(-(a t + d)) ⊙ g + (1 - σ(-(a t + d))) ⊙ s

t is the time since the step before: 1, or, with `elapsed`, the last feature of x, which is not part of the x above.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import bad_parameter


class CfCCell(Cell):
    """x (B, F), state h (B, H) -> h'.

    elapsed: the last feature of x is the time since the step before, default False: all steps are 1 apart.
    start: `gate_bias` and `init` of `Cell`; the gate u is the hidden layer, weight_out has the rows of g, s, a, d.
    """

    gates = ("u",)
    parameter_formula = "H * (F + H + 1) + 4 * H * (H + 1)"

    weight_out: torch.nn.Parameter
    bias_out: torch.nn.Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, elapsed: bool = False, **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.elapsed = bool(elapsed)
        if self.input_size - self.elapsed < 1:
            bad_parameter(
                "CfCCell", "input_size", "at least 2 with elapsed=True: one is the time", input_size
            )
        H = self.hidden_size
        self._weights(
            weight_ih=(H, self.input_size - self.elapsed),
            weight_hh=(H, H),
            weight_out=(4 * H, H),
            bias=(H,) if bias else None,
            bias_out=(4 * H,) if bias else None,
        )
        self.reset_parameters()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        t: Any = 1.0
        if self.elapsed:
            x, t = x[:, :-1], x[:, -1:]
        u = 1.7159 * torch.tanh(0.666 * (linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)))
        g, s, a, d = linear(u, self.weight_out, self.bias_out).chunk(4, dim=-1)
        gate = torch.sigmoid(-(a * t + d))
        return gate * torch.tanh(g) + (1 - gate) * torch.tanh(s)
