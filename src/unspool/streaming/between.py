"""Cells that stand between recurrent layers and behind them in a chain; they keep no state but what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Sum(nn.Module):
    """x (B, H), state (h (B, H),) -> (x + h,): a residual connection."""

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (x + state[0],)


class Kept(nn.Module):
    """x (B, H), state (h (B, H),) -> (x,): the input, for what runs where a chunk ends."""

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (x,)


PARTS = {"last": 0, "first": 1, "mean": 1, "max": 1, "attention": 3}  # of the state, for each pooling


class Pool(nn.Module):
    """What poolings keep of the outputs so far: x (B, H), state (count (B, 1), parts of each of `names`).

    "first", "mean", "max": one part (B, H), the first output, the sum and the maximum. "attention": the sum of the
    outputs by exp(score - peak), that of the weights, and the peak, (B, H), (B, 1) and (B, 1) (Milakov & Gimelshein
    2018, arXiv:1805.02867, algorithm 3). "last": none.
    """

    def __init__(self, names: Sequence[str], score: nn.Module | None) -> None:
        super().__init__()
        self.names, self.score = list(names), score

    def initial(self, size: int) -> list[Tensor]:
        """The parts before the first step."""
        of: dict[str, list[Any]] = {
            "last": [],
            "first": [(size, 0.0)],
            "mean": [(size, 0.0)],
            "max": [(size, -torch.inf)],
            "attention": [(size, 0.0), (1, 0.0), (1, -torch.inf)],
        }
        return [torch.full((width,), value) for name in self.names for width, value in of[name]]

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        count, *kept = state
        new = [count]
        for name in self.names:
            if name == "first":
                new.append(torch.where(count > 1.0, kept.pop(0), x))
            elif name == "mean":
                new.append(kept.pop(0) + x)
            elif name == "max":
                new.append(torch.maximum(kept.pop(0), x))
            elif name == "attention":
                assert self.score is not None
                total, weights, peak = kept.pop(0), kept.pop(0), kept.pop(0)
                score = self.score(x)
                higher = torch.maximum(peak, score)
                old, own = torch.exp(peak - higher), torch.exp(score - higher)
                new += [total * old + x * own, weights * old + own, higher]
        return tuple(new)


class Pooled(nn.Module):
    """What poolings say: x (B, H), the last output; state (count (B, 1), parts as of `Pool`, a pooled (B, H) for each
    of `names`) -> the same with the pooled ones. Zeros where there was no step."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        parts = sum(PARTS[name] for name in self.names)
        count, kept = state[0], list(state[1 : 1 + parts])
        found = []
        for name in self.names:
            if name == "last":
                value = x
            elif name == "mean":
                value = kept.pop(0) / count
            elif name == "attention":
                value = kept.pop(0) / kept.pop(0)
                kept.pop(0)
            else:
                value = kept.pop(0)
            found.append(torch.where(count > 0.0, value, torch.zeros_like(value)))
        return (*state[: 1 + parts], *found)
