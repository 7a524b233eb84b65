"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), gate order r, z, n as in torch.

r = σ(W_ir x + b_ir + W_hr h + b_hr)
z = σ(W_iz x + b_iz + W_hz h + b_hz)
n = φ(W_in x + b_in + r ⊙ (W_hn h + b_hn))      reset after the product (torch, cuDNN)
n = φ(W_in x + b_in + W_hn (r ⊙ h) + b_hn)      reset before it (the 2014 paper)
h' = (1 - z) ⊙ n + z ⊙ h                        φ = tanh
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.errors import check_choice


class GRUCell(Cell):
    """x (B, F), state h (B, H) -> h' (B, H).

    reset_after: see the equations above; default True.
    activation, recurrent_activation: φ and σ, names of `cells.ACTIVATIONS`; default "tanh" and "sigmoid".
    start: `gate_bias` and `init` of `Cell`.
    """

    gates = ("r", "z", "n")
    parameter_formula = "3 * H * (F + H + 2)"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        reset_after: bool = True,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        **start: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.reset_after = bool(reset_after)
        self.activation = check_choice("GRUCell", "activation", activation, ACTIVATIONS)
        self.recurrent_activation = check_choice(
            "GRUCell", "recurrent_activation", recurrent_activation, ACTIVATIONS
        )
        rows = 3 * self.hidden_size
        biases = (rows,) if bias else None
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.hidden_size),
            bias_ih=biases,
            bias_hh=biases,
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        phi, sigma = ACTIVATIONS[self.activation], ACTIVATIONS[self.recurrent_activation]
        h = state
        x_r, x_z, x_n = linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
        if self.reset_after:
            h_r, h_z, h_n = linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
            r, z = sigma(x_r + h_r), sigma(x_z + h_z)
            n = phi(x_n + r * h_n)
        else:
            w_rz, w_n = self.weight_hh.split([2 * self.hidden_size, self.hidden_size])
            b_rz, b_n = (
                (None, None)
                if self.bias_hh is None
                else self.bias_hh.split([2 * self.hidden_size, self.hidden_size])
            )
            h_r, h_z = linear(h, w_rz, b_rz).chunk(2, dim=-1)
            r, z = sigma(x_r + h_r), sigma(x_z + h_z)
            n = phi(x_n + linear(r * h, w_n, b_n))
        return (1 - z) * n + z * h
