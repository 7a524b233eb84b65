"""Phased LSTM: an LSTM whose units open and close in a rhythm of their own (Neil et al. 2016, arXiv:1610.09513).

ĉ = f ⊙ c + i ⊙ g,   ĥ = o ⊙ tanh(ĉ)            an LSTM's step, gate order i, f, g, o
φ = ((t' - s) mod τ) / τ                         where in its period a unit is; t' = t + the time since the step before
k = 2 φ / r where φ < r / 2,   2 - 2 φ / r where φ < r,   α φ elsewhere
c' = k ⊙ ĉ + (1 - k) ⊙ c,   h' = k ⊙ ĥ + (1 - k) ⊙ h

r is the share of a period in which a unit is open, α a leak. The time since the step before is 1, or, with `elapsed`,
the last feature of x, which is not part of the x above.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unspool.cells.base import Cell
from unspool.errors import bad_parameter, check_float


class PhasedLSTMCell(Cell):
    """x (B, F), state (h (B, H), c (B, H), t (B, 1)) -> (h', c', t').

    ratio: r in (0, 1), default 0.05; leak: α in [0, 1), default 0.001.
    elapsed: the last feature of x is the time since the step before, default False: all steps are 1 apart.
    start: `gate_bias` and `init` of `Cell`; the forget gate's bias starts at 1, τ between e and e³ (one a unit, evenly
    in its logarithm), s between 0 and τ.
    """

    gates = ("i", "f", "g", "o")
    state_names = ("h", "c", "t")
    parameter_formula = "4 * H * (F + H + 1) + 2 * H"
    open_gates = ("f",)

    log_period: nn.Parameter
    shift: nn.Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        ratio: float = 0.05,
        leak: float = 0.001,
        elapsed: bool = False,
        **start: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **start)
        self.ratio = check_float("PhasedLSTMCell", "ratio", ratio, 0.0, 1.0, closed="neither")
        self.leak = check_float("PhasedLSTMCell", "leak", leak, 0.0, 1.0, closed="left")
        self.elapsed = bool(elapsed)
        features = self.input_size - self.elapsed
        if features < 1:
            bad_parameter(
                "PhasedLSTMCell", "input_size", "at least 2 with elapsed=True: one is the time", input_size
            )
        self.state_sizes = (self.hidden_size, self.hidden_size, 1)
        rows = 4 * self.hidden_size
        self._weights(
            weight_ih=(rows, features),
            weight_hh=(rows, self.hidden_size),
            bias=(rows,) if bias else None,
            log_period=(self.hidden_size,),
            shift=(self.hidden_size,),
        )
        self.reset_parameters()

    def reset_parameters(self, scheme: str | None = None) -> None:
        super().reset_parameters(scheme)
        with torch.no_grad():
            nn.init.uniform_(self.log_period, 1.0, 3.0)
            self.shift.copy_(torch.rand_like(self.shift) * self.log_period.exp())

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, t = state
        passed: Any = 1.0
        if self.elapsed:
            x, passed = x[:, :-1], x[:, -1:]
        t = t + passed
        gates = linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)
        i, f, g, o = gates.chunk(4, dim=-1)
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        new_h = torch.sigmoid(o) * torch.tanh(new_c)
        period = torch.exp(self.log_period)
        phase = torch.remainder(t - self.shift, period) / period
        rising = 2 * phase / self.ratio
        k = torch.where(phase < self.ratio, torch.minimum(rising, 2 - rising), self.leak * phase)
        return k * new_h + (1 - k) * h, k * new_c + (1 - k) * c, t
