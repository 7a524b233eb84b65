"""LSTM whose gates see the cell's content (Gers & Schmidhuber 2000, "Recurrent nets that time and count").

i = σ(W_ii x + b_ii + W_hi h + b_hi + p_i ⊙ c)
f = σ(W_if x + b_if + W_hf h + b_hf + p_f ⊙ c)
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
c' = f ⊙ c + i ⊙ g
o = σ(W_io x + b_io + W_ho h + b_ho + p_o ⊙ c')        the output gate sees the new content
h' = o ⊙ tanh(c')

The gradient is the exact one of these equations; the paper's own training cut it at the gates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import bad_parameter


class PeepholeLSTMCell(Cell):
    """x (B, F), state (h (B, H), c (B, H)) -> (h', c').

    peepholes: the gates that have one, any letters of "ifo"; default all three. They start at 0, so that a new
        cell is an LSTM.
    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1.
    """

    gates = ("i", "f", "g", "o")
    state_names = ("h", "c")
    parameter_formula = "4 * H * (F + H + 2) + 3 * H"
    open_gates = ("f",)

    peephole_i: nn.Parameter | None
    peephole_f: nn.Parameter | None
    peephole_o: nn.Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, peepholes: str = "ifo", **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        letters = list(peepholes)
        if not set(letters) <= set("ifo") or len(set(letters)) < len(letters):
            bad_parameter("PeepholeLSTMCell", "peepholes", "distinct letters of 'ifo'", peepholes)
        self.peepholes = "".join(letters)
        rows = 4 * self.hidden_size
        biases = (rows,) if bias else None
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.hidden_size),
            bias_ih=biases,
            bias_hh=biases,
            **{f"peephole_{gate}": (self.hidden_size,) if gate in letters else None for gate in "ifo"},
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = gates.chunk(4, dim=-1)
        i, f = _peep(i, self.peephole_i, c), _peep(f, self.peephole_f, c)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(_peep(o, self.peephole_o, c)) * torch.tanh(c), c


def _peep(gate: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
    return gate if weight is None else gate + weight * c
