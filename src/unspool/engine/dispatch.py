"""Which engine runs a call, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine import eager

ENGINES = ("auto", "native", "eager")


@dataclass(frozen=True)
class Direction:
    """One pass over time: a cell, the direction, and where its weights are (None: in the cell itself)."""

    cell: nn.Module
    reverse: bool = False
    weights: Mapping[str, Tensor] | None = None

    def step(self, x: Tensor, state: Any) -> Any:
        if self.weights is None:
            return self.cell(x, state)
        return torch.func.functional_call(self.cell, dict(self.weights), (x, state))


def run(
    directions: Sequence[Direction],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    engine: str = "auto",
    index: Tensor | None = None,
) -> tuple[Tensor, list[Any]]:
    """Every direction over every sequence: output (N, sum of widths) and each direction's final state.

    With `index` (N,) the input of row n is `values[index[n]]`.
    """
    if index is not None:
        values = values[index]
    results = [eager.run(d.step, values, offsets, s, d.reverse) for d, s in zip(directions, states)]
    outputs = [output for output, _ in results]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1), [final for _, final in results]


def explain_path(module: nn.Module, x: Any) -> str:
    return "eager"
