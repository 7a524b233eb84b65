"""GRU with layer normalisation (Ba, Kiros & Hinton 2016, arXiv:1607.06450, supplement), gate order r, z, n.

r, z = σ(LN(W_irz x) + LN(W_hrz h))
n = tanh(LN(W_in x) + r ⊙ LN(W_hn h))
h' = (1 - z) ⊙ n + z ⊙ h
LN(a) = gain ⊙ (a - mean(a)) / sqrt(var(a) + eps) + bias

Each product is normalised by itself: those of the two gates over 2H entries, the candidate's over H. z keeps the
old state, as in torch; in the paper it takes the new one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from unspool.cells.base import Cell
from unspool.errors import check_float


class LayerNormGRUCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    eps: added to the variances; default 1e-5.
    start: `gate_bias` and `init` of `Cell`; gains start at 1.
    """

    gates = ("r", "z", "n")
    parameter_formula = "3 * H * (F + H + 4)"

    gain_ih: nn.Parameter
    gain_hh: nn.Parameter

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, eps: float = 1e-5, **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.eps = check_float("LayerNormGRUCell", "eps", eps, 0.0, 1.0, closed="neither")
        rows = 3 * self.hidden_size
        biases = (rows,) if bias else None
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.hidden_size),
            gain_ih=(rows,),
            gain_hh=(rows,),
            bias_ih=biases,
            bias_hh=biases,
        )
        self.reset_parameters()

    def reset_parameters(self, scheme: str | None = None) -> None:
        super().reset_parameters(scheme)
        nn.init.ones_(self.gain_ih)
        nn.init.ones_(self.gain_hh)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        x_rz, x_n = self._normal(linear(x, self.weight_ih), self.gain_ih, self.bias_ih)
        h_rz, h_n = self._normal(linear(h, self.weight_hh), self.gain_hh, self.bias_hh)
        r, z = torch.sigmoid(x_rz + h_rz).chunk(2, dim=-1)
        n = torch.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h

    def _normal(self, product: Tensor, gain: Tensor, bias: Tensor | None) -> list[Tensor]:
        """(B, 3H) -> the normalised products (B, 2H) of the gates and (B, H) of the candidate."""
        sizes = [2 * self.hidden_size, self.hidden_size]
        biases = (None, None) if bias is None else bias.split(sizes)
        return [
            layer_norm(a, (size,), g, b, self.eps)
            for a, size, g, b in zip(product.split(sizes, dim=-1), sizes, gain.split(sizes), biases)
        ]
