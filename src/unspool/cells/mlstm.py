"""mLSTM: a matrix memory with exponential gates (Beck et al. 2024, arXiv:2405.04517), by heads of d = H / heads.

q = W_q x + b_q,   k = (W_k x + b_k) / sqrt(d),   v = W_v x + b_v      of each head
ĩ = w_i x + b_i,   f̃ = w_f x + b_f               one number a head
m' = max(log f + m, ĩ)                           log f = log σ(f̃), or f̃ with an exponential forget gate
i = exp(ĩ - m'),   f = exp(log f + m - m')
C' = f C + i v kᵀ
n' = f n + i k
h' = σ(W_o x + b_o) ⊙ C' q / max(|n'ᵀ q|, exp(-m'))

C and n are those of the paper's plain form times exp(-m), and so is the 1 below which the quotient's lower part does
not fall. Before the first step m is -1e30, an exp(m) of 0, as in sLSTM. exp(-m') is held at e⁸⁰, so that no infinity
arises where m' is very negative: h' is 0 there either way. A step does not use h, the output.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid

from unspool.cells.base import Cell, State
from unspool.cells.slstm import NOTHING_YET
from unspool.errors import bad_parameter, check_choice, check_int


class MLSTMCell(Cell):
    """x (B, F), state (h (B, H), c (B, H d), n (B, H), m (B, heads)) -> (h', c', n', m').

    heads: default 1, a divisor of hidden_size; c is C (heads, d, d) as a row.
    forget_gate: "sigmoid" (default) or "exp".
    start: `gate_bias` and `init` of `Cell`; biases of the gates i and f stay 0.
    """

    gates = ("q", "k", "v", "o")
    state_names = ("h", "c", "n", "m")
    parameter_formula = "(4 * H + 2) * (F + 1)"

    weight_ih_if: torch.nn.Parameter
    bias_if: torch.nn.Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        heads: int = 1,
        forget_gate: str = "sigmoid",
        **start: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.heads = check_int("MLSTMCell", "heads", heads)
        if self.hidden_size % self.heads:
            bad_parameter("MLSTMCell", "heads", f"a divisor of hidden_size {hidden_size}", heads)
        self.forget_gate = check_choice("MLSTMCell", "forget_gate", forget_gate, ["sigmoid", "exp"])
        self.head_size = self.hidden_size // self.heads
        self.state_sizes = (
            self.hidden_size,
            self.hidden_size * self.head_size,
            self.hidden_size,
            self.heads,
        )
        rows = 4 * self.hidden_size
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_ih_if=(2 * self.heads, self.input_size),
            bias=(rows,) if bias else None,
            bias_if=(2 * self.heads,) if bias else None,
        )
        self.reset_parameters()

    def initial_state(self, batch_size: int) -> State:
        """h, c and n zero, m = -1e30."""
        h, c, n, m = super().initial_state(batch_size)
        return h, c, n, torch.full_like(m, NOTHING_YET)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        _, c, n, m = state
        heads, d = self.heads, self.head_size
        q, k, v, o = linear(x, self.weight_ih, self.bias).view(-1, 4, self.hidden_size).unbind(1)
        q, k, v = q.view(-1, heads, d), k.view(-1, heads, d) / math.sqrt(d), v.view(-1, heads, d)
        i, f = linear(x, self.weight_ih_if, self.bias_if).chunk(2, dim=1)
        kept = (logsigmoid(f) if self.forget_gate == "sigmoid" else f) + m
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m).unsqueeze(-1), torch.exp(kept - m).unsqueeze(-1)  # (B, heads, 1)
        c = f.unsqueeze(-1) * c.view(-1, heads, d, d) + (i * v).unsqueeze(-1) * k.unsqueeze(-2)
        n = f * n.view(-1, heads, d) + i * k
        low = torch.maximum((n * q).sum(-1).abs(), torch.exp((-m).clamp(max=80.0))).unsqueeze(-1)
        h = torch.sigmoid(o) * (torch.einsum("bhvk,bhk->bhv", c, q) / low).flatten(1)
        return h, c.flatten(1), n.flatten(1), m
