"""What a layer is made of when it is exported, whatever its class: directions, states, how outputs are merged."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.engine.dispatch import Direction
from unspool.errors import DataError, EngineError
from unspool.exporting.steps import numbers
from unspool.nn import GRU, LSTM, RNN, Recurrent, Stack
from unspool.state import flatten

DropIn = LSTM | GRU | RNN


@dataclass(frozen=True)
class Layer:
    """directions: in evaluation. likes: a state of each. starts: the parts (3, ·) that three sequences start from, of
    each. names: of the parts, of each: h_l0, c_l0, h_l0_reverse, ... merge: as of `Recurrent`."""

    directions: Sequence[Direction]
    likes: Sequence[Any]
    starts: Sequence[Sequence[Tensor]]
    names: Sequence[Sequence[str]]
    merge: str | None

    @property
    def widths(self) -> list[list[int]]:
        """Of the parts of each direction's state."""
        return [[int(leaf.shape[1]) for leaf in flatten(like)] for like in self.likes]

    @property
    def output_size(self) -> int:
        """The width of the merged output."""
        outputs = [widths[0] for widths in self.widths]
        return sum(outputs) if self.merge == "concat" else outputs[0]

    def own_start(self) -> list[list[np.ndarray]]:
        """The parts (1, ·) that every sequence starts from; `DataError` where they differ."""
        for part in (part for parts in self.starts for part in parts):
            if not torch.equal(part, part[:1].expand_as(part)):
                raise DataError(
                    "The initial state of this layer differs from sequence to sequence, so it cannot be part of the "
                    "graph. Make it an input: initial_state=True."
                )
        return [[numbers(part[:1], "An initial state") for part in parts] for parts in self.starts]


def of_recurrent(layer: Recurrent, depth: int = 0) -> Layer:
    """Noise as in evaluation. `EngineError` for a frozen copy."""
    _check_weights(layer)
    cells = layer.cells()
    with torch.no_grad():
        starts = [[part.detach() for part in flatten(state)] for state in layer._states(3, None, True)]
    likes = [cell.initial_state(2) for cell in cells]
    names = []
    for d, (cell, like) in enumerate(zip(cells, likes)):
        count, own = len(flatten(like)), getattr(cell, "state_names", ())
        parts = own if len(own) == count else [f"s{k}" for k in range(count)]
        names.append([f"{part}_l{depth}{'_reverse' if d else ''}" for part in parts])
    return Layer(layer._still(), likes, starts, names, layer.merge)


def of_drop_in(module: Any) -> list[Layer]:
    """The layers of an `unspool.nn.LSTM`, `GRU` or `RNN`."""
    _check_weights(module)
    found, parts = [], ["h", "c"] if module.mode == "LSTM" else ["h"]
    with torch.no_grad():
        given = module._initial(next(module.parameters()), 3, None, True)
    for depth in range(module.num_layers):
        directions = [_with_data(direction) for direction in module.directions(depth)]
        first = depth * len(directions)
        likes = [module._state(given, first + d) for d in range(len(directions))]
        names = [[f"{part}_l{depth}{'_reverse' if d else ''}" for part in parts] for d in range(len(likes))]
        found.append(Layer(directions, likes, [flatten(like) for like in likes], names, "concat"))
    return found


def _with_data(direction: Direction) -> Direction:
    """With a cell that has memory: a drop-in's own has none, and takes seconds to trace."""
    return replace(direction, cell=copy.deepcopy(direction.cell).to_empty(device="cpu"))


def _check_weights(module: Any) -> None:
    if module.frozen is not None:
        raise EngineError("A frozen copy holds packed weights. Export the layer that it was made of.")


def layers_of(module: Any) -> list[Layer]:
    """Of a `Recurrent`, a `Stack` or a drop-in for torch.nn's layers."""
    if isinstance(module, Stack):
        return [of_recurrent(layer, depth) for depth, layer in enumerate(module._recurrent())]
    return [of_recurrent(module)] if isinstance(module, Recurrent) else of_drop_in(module)


def input_size_of(module: Any, given: int | None) -> int:
    """The features of a step; given: where the cell does not tell. `DataError` where neither does, or they differ."""
    first = module._recurrent()[0] if isinstance(module, Stack) else module
    own = getattr(first.cell if isinstance(first, Recurrent) else first, "input_size", None)
    size = own if isinstance(own, int) else given
    if size is None or (given is not None and given != size):
        told = "Its cell has no attribute of that name." if own is None else f"It has {own}."
        raise DataError(
            f"input_size must be the number of features of a step of this {type(module).__name__}. {told} Got {given}."
        )
    return size
