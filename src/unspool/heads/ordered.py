"""The output for classes that have an order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_GAP = 1e-3


class Ordered(nn.Module):
    """A score s from `module` (B, 1) -> (B, K): log P(y = k), by cumulative logits (McCullagh 1980).

    P(y > k) = σ(s - t_k) with thresholds t_0 < t_1 < ... of their own, which are learnt as the first one and the gaps
    between them, so that they cannot cross. starts (K - 1,), rising: where they are at first.
    """

    def __init__(self, module: nn.Module, starts: Tensor) -> None:
        super().__init__()
        self.module = module
        self.first = nn.Parameter(starts[:1].clone())
        gaps = (starts.diff() - LEAST_GAP).clamp(min=LEAST_GAP)
        self.gaps = nn.Parameter(gaps + torch.log(-torch.expm1(-gaps)))  # softplus, turned round

    @property
    def thresholds(self) -> Tensor:
        """(K - 1,), rising."""
        return torch.cat([self.first, self.first + (F.softplus(self.gaps) + LEAST_GAP).cumsum(0)])

    def forward(self, *given: Any) -> Tensor:
        """What `module` takes -> (B, K) logarithms of probabilities."""
        above = self.module(*given) - self.thresholds  # (B, K - 1): the logits of y > k
        # σ(a) - σ(b) = σ(a) σ(-b) (1 - exp(b - a)), which is exact far out too
        apart = torch.log(-torch.expm1(above.diff()))  # (B, K - 2)
        low, high = F.logsigmoid(-above), F.logsigmoid(above)
        return torch.cat([low[:, :1], high[:, :-1] + low[:, 1:] + apart, high[:, -1:]], 1)
