"""GRU-D: a GRU for values that are missing (Che et al. 2018, arXiv:1606.01865), gate order r, z, n.

An x that is NaN is missing: k = 0, otherwise k = 1 (the paper's mask m).
δ = s + t                                        the time since the feature was seen; t since the step before
γ = exp(-relu(w_γ ⊙ δ + b_γ)),   γ_h = exp(-relu(W_γh δ + b_γh))
x̂ = k ⊙ x + (1 - k) ⊙ γ ⊙ x_last                (the mean of a standardised feature is 0)
ĥ = γ_h ⊙ h
r = σ(W_r x̂ + U_r ĥ + V_r k + b_r),   z alike
n = tanh(W_n x̂ + U_n (r ⊙ ĥ) + V_n k + b_n)
h' = (1 - z) ⊙ ĥ + z ⊙ n
x_last' = k ⊙ x + (1 - k) ⊙ x_last,   s' = (1 - k) ⊙ δ

t is 1, or, with `elapsed`, the last feature of x, which is not part of the x above. The first step has δ = t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import bad_parameter


class GRUDCell(Cell):
    """x (B, F) with NaN where missing, state (h (B, H), last (B, F), seen (B, F)) -> (h', last', seen').

    last: the values seen last, 0 before there are any; seen: s, the time since then.
    elapsed: the last feature of x is the time since the step before, never missing; default False: all steps are 1
    apart. With it last and seen are (B, F - 1).
    start: `gate_bias` and `init` of `Cell`.
    """

    gates = ("r", "z", "n")
    state_names = ("h", "last", "seen")
    parameter_formula = "3 * H * (2 * F + H + 1) + 2 * F + H * (F + 1)"

    weight_ih_mask: torch.nn.Parameter
    weight_ih_decay: torch.nn.Parameter
    decay: torch.nn.Parameter
    bias_decay: torch.nn.Parameter | None
    bias_hidden: torch.nn.Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, elapsed: bool = False, **start: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.elapsed = bool(elapsed)
        features = self.input_size - self.elapsed
        if features < 1:
            bad_parameter(
                "GRUDCell", "input_size", "at least 2 with elapsed=True: one is the time", input_size
            )
        H = self.hidden_size
        self.state_sizes = (H, features, features)
        self._weights(  # weight_ih_decay and decay: W_γh and w_γ
            weight_ih=(3 * H, features),
            weight_hh=(3 * H, H),
            weight_ih_mask=(3 * H, features),
            weight_ih_decay=(H, features),
            decay=(features,),
            bias=(3 * H,) if bias else None,
            bias_decay=(features,) if bias else None,
            bias_hidden=(H,) if bias else None,
        )
        self.reset_parameters()

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, last, seen = state
        t: Any = 1.0
        if self.elapsed:
            x, t = x[:, :-1], x[:, -1:]
        there = x == x
        k = there.to(h.dtype)
        since = seen + t
        last = torch.where(there, x, last)
        fade = self.decay * since if self.bias_decay is None else self.decay * since + self.bias_decay
        x = torch.where(there, x, torch.exp(-torch.relu(fade)) * last)
        h = torch.exp(-torch.relu(linear(since, self.weight_ih_decay, self.bias_hidden))) * h
        r_z, n = 2 * self.hidden_size, self.hidden_size
        given = linear(x, self.weight_ih, self.bias) + linear(k, self.weight_ih_mask)
        r, z = torch.sigmoid(given[:, :r_z] + linear(h, self.weight_hh[:r_z])).chunk(2, dim=-1)
        new = torch.tanh(given[:, r_z:] + linear(r * h, self.weight_hh[-n:]))
        return (1 - z) * h + z * new, last, (1 - k) * since
