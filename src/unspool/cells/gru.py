"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), gate order r, z, n as in torch.

r = σ(W_ir x + b_ir + W_hr h + b_hr)
z = σ(W_iz x + b_iz + W_hz h + b_hz)
n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))      reset after the product (torch, cuDNN)
n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)      reset before it (the 2014 paper)
h' = (1 - z) ⊙ n + z ⊙ h
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell


class GRUCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H). `reset_after`: see the equations above; default True."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, reset_after: bool = True
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.reset_after = bool(reset_after)
        self._gate_weights(3, bias)
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        x_r, x_z, x_n = linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
        if self.reset_after:
            h_r, h_z, h_n = linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
            r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            n = torch.tanh(x_n + r * h_n)
        else:
            w_rz, w_n = self.weight_hh.split([2 * self.hidden_size, self.hidden_size])
            b_rz, b_n = (
                (None, None)
                if self.bias_hh is None
                else self.bias_hh.split([2 * self.hidden_size, self.hidden_size])
            )
            h_r, h_z = linear(h, w_rz, b_rz).chunk(2, dim=-1)
            r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            n = torch.tanh(x_n + linear(r * h, w_n, b_n))
        return (1 - z) * n + z * h
