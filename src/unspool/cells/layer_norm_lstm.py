"""LSTM with layer normalisation (Ba, Kiros & Hinton 2016, arXiv:1607.06450, supplement), gate order i, f, g, o.

i, f, g, o = LN(W_ih x) + LN(W_hh h) + bias
c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
h' = σ(o) ⊙ tanh(LN(c') + bias_c)
LN(a) = gain ⊙ (a - mean(a)) / sqrt(var(a) + eps)

Each of the two products is normalised over its 4H entries. The content c' is normalised on its way to the output;
c' itself is carried on as it is. The paper's biases of both products and of the sum are one here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from unspool.cells.base import Cell
from unspool.errors import check_float


class LayerNormLSTMCell(Cell):
    """x (B, F), state (h (B, H), c (B, H)) -> (h', c').

    eps: added to the variances; default 1e-5.
    start: `gate_bias` and `init` of `Cell`; the forget gate's bias and all gains start at 1.
    """

    gates = ("i", "f", "g", "o")
    state_names = ("h", "c")
    parameter_formula = "4 * H * (F + H + 3) + 2 * H"
    open_gates = ("f",)

    gain_ih: nn.Parameter
    gain_hh: nn.Parameter
    gain_c: nn.Parameter
    bias_c: nn.Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, eps: float = 1e-5, **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.eps = check_float("LayerNormLSTMCell", "eps", eps, 0.0, 1.0, closed="neither")
        size, rows = self.hidden_size, 4 * self.hidden_size
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, size),
            bias=(rows,) if bias else None,
            gain_ih=(rows,),
            gain_hh=(rows,),
            gain_c=(size,),
            bias_c=(size,) if bias else None,
        )
        self.reset_parameters()

    def reset_parameters(self, scheme: str | None = None) -> None:
        super().reset_parameters(scheme)
        for gain in (self.gain_ih, self.gain_hh, self.gain_c):
            nn.init.ones_(gain)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        rows = (4 * self.hidden_size,)
        gates = layer_norm(linear(x, self.weight_ih), rows, self.gain_ih, self.bias, self.eps)
        gates = gates + layer_norm(linear(h, self.weight_hh), rows, self.gain_hh, None, self.eps)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        content = layer_norm(c, (self.hidden_size,), self.gain_c, self.bias_c, self.eps)
        return torch.sigmoid(o) * torch.tanh(content), c
