"""sLSTM: exponential gates with a normaliser and a stabiliser (Beck et al. 2024, arXiv:2405.04517), order i, f, g, o.

ĩ, f̃, g̃, õ = W_i· x + b_· + W_h· h                 (g is the paper's z; W_h· is block-diagonal, one block a head)
m' = max(log f + m, ĩ)                           log f = log σ(f̃), or f̃ with an exponential forget gate
i = exp(ĩ - m'),   f = exp(log f + m - m')
c' = f ⊙ c + i ⊙ tanh(g̃)
n' = f ⊙ n + i
h' = σ(õ) ⊙ c' / n'

c and n are those of the paper's plain form times exp(-m), so that no exponential overflows. Before the first step
m is -1e30, an exp(m) of 0: with m = 0 the quotient would be 0/0 where the first ĩ is very negative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid

from unspool.cells.base import Cell, State
from unspool.errors import bad_parameter, check_choice, check_int

NOTHING_YET = -1e30


class SLSTMCell(Cell):
    """x (B, F), state (h, c, n, m), each (B, H) -> (h', c', n', m').

    heads: default 1, a divisor of hidden_size: a unit sees the h of its head alone, and weight_hh is (4 H, H / heads).
    forget_gate: "sigmoid" (default) or "exp".
    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1.

    Every step returns n >= 1. A state given from outside with a smaller n is treated as one with n' = 1.
    """

    gates = ("i", "f", "g", "o")
    state_names = ("h", "c", "n", "m")
    parameter_formula = "4 * H * (F + H + 1)"
    open_gates = ("f",)

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
        self.forget_gate = check_choice("SLSTMCell", "forget_gate", forget_gate, ["sigmoid", "exp"])
        self.heads = check_int("SLSTMCell", "heads", heads)
        if self.hidden_size % self.heads:
            bad_parameter("SLSTMCell", "heads", f"a divisor of hidden_size {hidden_size}", heads)
        rows = 4 * self.hidden_size
        self._weights(
            weight_ih=(rows, self.input_size),
            weight_hh=(rows, self.hidden_size // self.heads),
            bias=(rows,) if bias else None,
        )
        self.reset_parameters()

    def initial_state(self, batch_size: int) -> State:
        """h, c and n zero, m = -1e30; (batch_size, H) each."""
        h, c, n, m = super().initial_state(batch_size)
        return h, c, n, torch.full_like(m, NOTHING_YET)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, n, m = state
        gates = linear(x, self.weight_ih, self.bias) + self._by_heads(h)
        i, f, g, o = gates.chunk(4, dim=-1)
        kept = (logsigmoid(f) if self.forget_gate == "sigmoid" else f) + m
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m), torch.exp(kept - m)
        c = f * c + i * torch.tanh(g)
        n = (f * n + i).clamp(min=1.0)
        return torch.sigmoid(o) * c / n, c, n, m

    def _by_heads(self, h: Tensor) -> Tensor:
        """W_h· h, (B, 4 H)."""
        if self.heads == 1:
            return linear(h, self.weight_hh)
        blocks = self.weight_hh.view(4, self.heads, -1, self.weight_hh.shape[1])  # (4, heads, d, d)
        return torch.einsum("bhd,ghed->bghe", h.view(-1, self.heads, blocks.shape[-1]), blocks).flatten(1)
