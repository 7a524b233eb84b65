"""A stack of cells as one cell: the output of each is the input of the next, all within one step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from unspool.errors import bad_parameter
from unspool.state import flatten


class StackedCell(nn.Module):
    """x (B, F), state -> state, through every cell of `cells`, first to last.

    cells: cell modules, ours or a user's, at least one; the width of each output is the next one's input size.
    The state is a tuple of the cells' states, the last cell's first: its first entry is the stack's output.
    `StackedCell([a, b])` has the state (b's state, a's state).

    `nn.Stack` computes the same layer after layer and is faster; this one is for use wherever one cell is expected.
    Raises `InvalidParameterError` for an empty stack, a part that is no cell, and widths that do not meet.
    """

    def __init__(self, cells: Iterable[nn.Module]) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        if len(self.cells) == 0:
            bad_parameter("StackedCell", "cells", "at least one cell", [])
        for depth, cell in enumerate(self.cells):
            if not callable(getattr(cell, "initial_state", None)):
                bad_parameter("StackedCell", "cells", "modules with forward and initial_state", cell)
            expected = getattr(cell, "input_size", None)
            if depth and expected is not None:
                width = _output_width(self.cells[depth - 1])
                if width != expected:
                    wanted = f"cells that fit: cell {depth} takes {expected} features, cell {depth - 1} gives {width}"
                    bad_parameter("StackedCell", "cells", wanted, [type(c).__name__ for c in self.cells])

    def initial_state(self, batch_size: int) -> tuple:
        """The cells' own initial states, the last cell's first."""
        states = [cell.initial_state(batch_size) for cell in self._cells()]
        return tuple(reversed(states))

    def forward(self, x: Tensor, state: tuple) -> tuple:
        new = []
        for cell, old in zip(self._cells(), reversed(state), strict=True):
            new.append(cell(x, old))
            x = flatten(new[-1])[0]
        return tuple(reversed(new))

    def _cells(self) -> list[Any]:
        return list(self.cells)


def _output_width(cell: Any) -> int:
    return int(flatten(cell.initial_state(1))[0].shape[1])
