"""Plain recurrent cell with layer normalisation (Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 4).

h' = φ(LN(W_ih x + W_hh h))        φ = tanh, relu, ...
LN(a) = gain ⊙ (a - mean(a)) / sqrt(var(a) + eps) + bias,   over the H entries of the sum of both products
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.errors import check_choice, check_float


class LayerNormRNNCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    nonlinearity: φ, "tanh" (default), "relu" or another of `cells.ACTIVATIONS`.
    eps: added to the variance; default 1e-5.
    start: `gate_bias` and `init` of `Cell`; gains start at 1.
    """

    gates = ("h",)
    parameter_formula = "H * (F + H + 2)"

    gain: nn.Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        eps: float = 1e-5,
        **start: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.nonlinearity = check_choice("LayerNormRNNCell", "nonlinearity", nonlinearity, ACTIVATIONS)
        self.eps = check_float("LayerNormRNNCell", "eps", eps, 0.0, 1.0, closed="neither")
        size = self.hidden_size
        self._weights(
            weight_ih=(size, self.input_size),
            weight_hh=(size, size),
            gain=(size,),
            bias=(size,) if bias else None,
        )
        self.reset_parameters()

    def reset_parameters(self, scheme: str | None = None) -> None:
        super().reset_parameters(scheme)
        nn.init.ones_(self.gain)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        total = linear(x, self.weight_ih) + linear(state, self.weight_hh)
        normal = layer_norm(total, (self.hidden_size,), self.gain, self.bias, self.eps)
        return ACTIVATIONS[self.nonlinearity](normal)
