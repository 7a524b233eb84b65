"""Any cell over time: one direction or both."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool.engine import compiled
from unspool.engine.dispatch import ENGINES, Direction, choose, run
from unspool.engine.state import flatten, unflatten
from unspool.errors import DataError, check_choice
from unspool.nn.layout import to_ragged


class Recurrent(nn.Module):
    """Run a cell over sequences, passing the state on.

    cell: any module with `forward(x, state) -> state` and `initial_state(batch_size) -> state`.
    reverse: run each sequence from its end.
    bidirectional: also run a second cell from the end; outputs are concatenated (N, 2H) and the state is a
        pair (forward's, backward's). The second cell is `reverse_cell`, or a copy of `cell` with fresh
        weights (`reset_parameters`, where the cell has it).
    batch_first: for padded tensors: (B, T, F), the default, or (T, B, F).
    engine: "auto" picks the fastest that can run the call (`unspool.explain_path` tells which and why);
        "native" raises `EngineError` where the native engine cannot; "eager" is the plain loop.

    `output, state = layer(x, state=None)`: x a Ragged, PackedSequence or padded tensor; output the same kind;
    state the final state of each sequence, in batch order.
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        reverse: bool = False,
        bidirectional: bool = False,
        reverse_cell: nn.Module | None = None,
        batch_first: bool = True,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        for method in ("forward", "initial_state"):
            if not callable(getattr(cell, method, None)):
                raise TypeError(
                    f"The cell of Recurrent must have a method '{method}'. Got {type(cell).__name__}, which has "
                    "none. A cell is a module with forward(x, state) -> state and initial_state(batch_size)."
                )
        if reverse_cell is not None and not bidirectional:
            raise ValueError("'reverse_cell' needs bidirectional=True.")
        self.cell: Any = cell
        self.reverse = bool(reverse)
        self.bidirectional = bool(bidirectional)
        self.batch_first = bool(batch_first)
        self.engine = check_choice("Recurrent", "engine", engine, ENGINES)
        if bidirectional:
            self.reverse_cell = _fresh_copy(cell) if reverse_cell is None else reverse_cell
        compiled.register(*(direction.cell for direction in self.directions()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        compiled.register(*(direction.cell for direction in self.directions()))

    def directions(self) -> list[Direction]:
        first = Direction(self.cell, self.reverse)
        return [first, Direction(self.reverse_cell, not self.reverse)] if self.bidirectional else [first]

    def output_size(self) -> int:
        """The width of the output: of the first part of the state, over the directions."""
        return sum(int(flatten(_initial(d.cell, 1))[0].shape[1]) for d in self.directions())

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        ragged, restore, batched = to_ragged(x, self.batch_first, "Recurrent")
        states = self._states(len(ragged), state, batched)
        output, finals = run(self.directions(), ragged.values, ragged.offsets, states, self.engine)
        final = tuple(finals) if self.bidirectional else finals[0]
        if not batched:
            final = unflatten(final, [leaf[0] for leaf in flatten(final)])
        return restore(ragged.with_values(output)), final

    def step(self, x: Tensor, state: Any = None) -> Any:
        """One step: x (B, F), state as the cell's -> the next state. The output is its first part."""
        if self.bidirectional or self.reverse:
            raise DataError("A step needs the past only: build Recurrent without reverse or bidirectional.")
        return self.cell(x, self.cell.initial_state(x.shape[0]) if state is None else state)

    def explain_path(self, x: Any) -> str:
        """Which engine runs `self(x)`, and why."""
        ragged, _, _ = to_ragged(x, self.batch_first, "Recurrent")
        return str(
            choose(self.directions(), ragged.values, self._states(len(ragged), None, True), self.engine)
        )

    def _states(self, batch: int, state: Any, batched: bool) -> list[Any]:
        cells = [direction.cell for direction in self.directions()]
        initial = [_initial(cell, batch) for cell in cells]
        if state is None:
            return initial
        given = list(state) if self.bidirectional else [state]
        if len(given) != len(cells):
            raise DataError(f"A bidirectional layer takes a pair of states. Got {len(given)}.")
        return [check_state(s, i, batched) for s, i in zip(given, initial)]

    def extra_repr(self) -> str:
        return f"reverse={self.reverse}, bidirectional={self.bidirectional}, engine={self.engine!r}"


def _initial(cell: Any, batch: int) -> Any:
    return cell.initial_state(batch)


def check_state(state: Any, like: Any, batched: bool = True) -> Any:
    """`state` with a batch axis, once its parts have the shapes of `like`'s."""
    leaves = flatten(state) if batched else [leaf.unsqueeze(0) for leaf in flatten(state)]
    expected = [tuple(leaf.shape) for leaf in flatten(like)]
    got = [tuple(leaf.shape) for leaf in leaves]
    if got != expected:
        raise DataError(f"The initial state must have parts of shape {expected}. Got {got}.")
    return unflatten(like, leaves)


def _fresh_copy(cell: nn.Module) -> nn.Module:
    twin = copy.deepcopy(cell)
    for module in twin.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return twin


def final_output(state: Sequence[Any]) -> Tensor:
    """(B, D*H): each direction's own final output in the last layer of a Stack's state, concatenated."""
    return torch.cat([flatten(direction)[0] for direction in state[-1]], dim=-1)
