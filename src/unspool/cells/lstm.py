"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), gate order i, f, g, o.

i, f, o = σ(W_i· x + b_i· + W_h· h + b_h·)
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
c' = f ⊙ c + i ⊙ g
h' = o ⊙ tanh(c')                 or W_hr (o ⊙ tanh(c')) with a projection (Sak et al. 2014)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import bad_parameter, check_int


class LSTMCell(Cell):
    """x (B, F), state (h (B, H or proj_size), c (B, H)) -> (h', c')."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, proj_size: int = 0) -> None:
        super().__init__(input_size, hidden_size)
        self.proj_size = check_int("LSTMCell", "proj_size", proj_size, 0)
        if self.proj_size >= self.hidden_size:
            bad_parameter("LSTMCell", "proj_size", f"smaller than hidden_size {hidden_size}", proj_size)
        self.state_sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        self._gate_weights(4, bias, self.state_sizes[0])
        self.weight_hr = nn.Parameter(torch.empty(proj_size, hidden_size)) if proj_size else None
        self.reset_parameters()

    def reset_parameters(self, scheme: str = "orthogonal") -> None:
        super().reset_parameters(scheme)
        if scheme == "orthogonal" and self.bias_ih is not None:
            nn.init.ones_(self.bias_ih[self.hidden_size : 2 * self.hidden_size])

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (h if self.weight_hr is None else linear(h, self.weight_hr)), c
