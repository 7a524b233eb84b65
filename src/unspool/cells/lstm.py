"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), gate order i, f, g, o.

i, f, o = σ(W_i· x + b_i· + W_h· h + b_h·)
g = φ(W_ig x + b_ig + W_hg h + b_hg)
c' = f ⊙ c + i ⊙ g
h' = o ⊙ φ(c')                 or W_hr (o ⊙ φ(c')) with a projection (Sak et al. 2014); φ = tanh
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.errors import bad_parameter, check_choice, check_int


class LSTMCell(Cell):
    """x (B, F), state (h (B, H or proj_size), c (B, H)) -> (h', c').

    proj_size: width of h with a projection; default 0, none.
    activation, recurrent_activation: φ and σ, names of `cells.ACTIVATIONS`; default "tanh" and "sigmoid".
    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1.
    """

    gates = ("i", "f", "g", "o")
    state_names = ("h", "c")
    parameter_formula = "4 * H * (F + H + 2)"
    open_gates = ("f",)

    weight_hr: nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        proj_size: int = 0,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        **start: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.proj_size = check_int("LSTMCell", "proj_size", proj_size, 0)
        if self.proj_size >= self.hidden_size:
            bad_parameter("LSTMCell", "proj_size", f"smaller than hidden_size {hidden_size}", proj_size)
        self.activation = check_choice("LSTMCell", "activation", activation, ACTIVATIONS)
        self.recurrent_activation = check_choice(
            "LSTMCell", "recurrent_activation", recurrent_activation, ACTIVATIONS
        )
        self.state_sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        rows = 4 * self.hidden_size
        biases = (rows,) if bias else None
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.state_sizes[0]),
            bias_ih=biases,
            bias_hh=biases,
            weight_hr=(self.proj_size, self.hidden_size) if self.proj_size else None,
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        phi, sigma = ACTIVATIONS[self.activation], ACTIVATIONS[self.recurrent_activation]
        h, c = state
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = sigma(f) * c + sigma(i) * phi(g)
        h = sigma(o) * phi(c)
        return (h if self.weight_hr is None else linear(h, self.weight_hr)), c
