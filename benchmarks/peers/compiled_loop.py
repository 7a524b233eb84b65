"""The plain loop under torch.compile: the whole loop as one graph, or only the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from peers.layers import mask, padded
from unspool import cells


def whole(case: dict[str, Any], threads: int) -> Callable[[], object]:
    """The loop over time is unrolled and compiled with the step."""
    return _build(case, threads, loop=torch.compile(_loop), step=None)


def step(case: dict[str, Any], threads: int) -> Callable[[], object]:
    """Python loops over time and calls the compiled step."""
    return _build(case, threads, loop=_loop, step=torch.compile)


def _loop(cell: Any, x: Tensor, alive: Tensor | None, state: tuple[Tensor, ...], backwards: bool) -> Tensor:
    """Outputs (B, T, H) over a padded batch (B, T, F); a sequence that has ended keeps its state."""
    outputs: list[Tensor] = []
    steps = range(x.shape[1])
    for t in reversed(steps) if backwards else steps:
        found = cell(x[:, t], state if len(state) > 1 else state[0])
        new = found if isinstance(found, tuple) else (found,)
        if alive is not None:
            now = alive[:, t, None]
            new = tuple(torch.where(now, a, b) for a, b in zip(new, state))
        state = new
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs, 1)


def _build(
    case: dict[str, Any], threads: int, loop: Callable[..., Tensor], step: Callable[..., Any] | None
) -> Callable[[], object]:
    torch.set_num_threads(threads)
    x, valid = torch.from_numpy(padded(case)), mask(case)
    alive = None if valid is None else torch.from_numpy(valid)
    runs = []
    for backwards in (False, True)[: case["directions"]]:
        cell = cells.get(case["cell"])(case["features"], case["hidden"])
        state = cell.initial_state(case["batch"])
        state = tuple(s.detach() for s in (state if isinstance(state, tuple) else (state,)))
        runs.append((cell, step(cell) if step else cell, state, backwards))

    def outputs() -> Tensor:
        return torch.cat([loop(call, x, alive, state, back) for _, call, state, back in runs], -1)

    def forward() -> None:
        with torch.no_grad():
            outputs()

    def training() -> None:
        for cell, *_ in runs:
            cell.zero_grad(set_to_none=True)
        y = outputs()
        y.backward(torch.ones_like(y))

    return forward if case["work"] == "forward" else training
