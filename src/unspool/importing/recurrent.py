"""A recurrent layer of an imported network: a cell of ours over the steps that are not skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from unspool.cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell, StackedCell
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.importing.signal import Signal, kept_offsets, spread
from unspool.importing.step_cell import StepCell
from unspool.nn import Recurrent
from unspool.nn.recurrent import merge_outputs
from unspool.ragged import Ragged
from unspool.saved import Fields
from unspool.state import flatten

#: Cell -> (its class, the options that an imported one may have and their types).
CELLS: dict[str, tuple[Callable[..., nn.Module], dict[str, type]]] = {
    "lstm": (
        LSTMCell,
        {"bias": bool, "proj_size": int, "activation": str, "recurrent_activation": str},
    ),
    "gru": (GRUCell, {"bias": bool, "reset_after": bool, "activation": str, "recurrent_activation": str}),
    "rnn": (RNNCell, {"bias": bool, "nonlinearity": str}),
    "peephole_lstm": (PeepholeLSTMCell, {"bias": bool, "peepholes": str}),
}
STEPS = "steps"  # a cell of single operations
STACK = "stack"  # cells one after the other, within one step
MERGES = ("concat", "sum", "mean", "product")


STACKED = {"cell", "cells", "input_size", "hidden_size"}


def build_cell(fields: Fields) -> nn.Module:
    """A cell from {"cell", "input_size", "hidden_size", options...}, a stack of them, or a `StepCell` from what it
    takes; `ModelFileError` for anything else."""
    if fields.data.get("cell") == STEPS:
        return StepCell.from_fields(fields)
    if fields.data.get("cell") == STACK:
        cells = [Fields(cell, f"{fields.where}, 'cells',") for cell in fields.items("cells", dict)]
        if not cells or any(cell.data.get("cell") not in CELLS for cell in cells):
            raise ModelFileError(f"{fields.where} must be a stack of cells that are no stacks.")
        ends = fields.get("input_size", int), fields.get("hidden_size", int)
        widths = [(cell.get("input_size", int), cell.get("hidden_size", int)) for cell in cells]
        met = [one[1] == other[0] for one, other in pairwise(widths)]
        if not all(met) or ends != (widths[0][0], widths[-1][1]) or set(fields.data) - STACKED:
            raise ModelFileError(f"{fields.where} has cells whose widths do not meet.")
        try:
            return StackedCell(map(build_cell, cells))
        except InvalidParameterError as error:  # of projections
            raise ModelFileError(f"{fields.where}: {error}") from error
    make, kinds = CELLS[fields.choice("cell", CELLS)]
    options: dict[str, Any] = {
        name: fields.get(name, kind) for name, kind in kinds.items() if name in fields.data
    }
    odd = set(fields.data) - set(kinds) - {"cell", "input_size", "hidden_size"}
    if odd:
        raise ModelFileError(f"{fields.where} has a field {sorted(odd)[0]!r} that its cell does not take.")
    return make(fields.get("input_size", int), fields.get("hidden_size", int), **options)


class RecurrentLayer(nn.Module):
    """One cell, or two that run against each other, with what Keras puts around them.

    merge: of two directions: "concat", "sum", "mean" or "product".
    reverse: the (first) cell runs from the end.
    outputs: "last": (B, H), what each direction ends with; "steps": (N, H); "reversed_steps": those, each sequence
        back to front.
    zeros_at_skipped: skipped steps have the output 0 instead of the output before them.
    stateful: the state is carried from call to call.
    skips: whether it skips the steps that are masked; otherwise it runs over them, and later layers skip them.
    Further inputs are rows that the states start from, those of the first cell and then those of the second.
    """

    OUTPUTS = ("last", "steps", "reversed_steps")

    def __init__(
        self,
        cells: list[nn.Module],
        merge: str,
        reverse: bool,
        outputs: str,
        zeros_at_skipped: bool,
        stateful: bool,
        skips: bool = True,
    ) -> None:
        super().__init__()
        both = len(cells) == 2
        self.layer = Recurrent(
            cells[0], reverse=reverse, bidirectional=both, reverse_cell=cells[1] if both else None
        )
        self.merge, self.outputs = merge, outputs
        self.zeros_at_skipped, self.stateful, self.skips = zeros_at_skipped, stateful, skips
        self.carried: Any = None

    @classmethod
    def from_fields(cls, fields: Fields) -> RecurrentLayer:
        """The layer that a saved model describes."""
        cells = [
            build_cell(Fields(cell, f"{fields.where}, 'cells',")) for cell in fields.items("cells", dict)
        ]
        if len(cells) not in (1, 2):
            raise ModelFileError(f"{fields.where} must have one cell or two. Got {len(cells)}.")
        merge = fields.choice("merge", MERGES)
        widths = {flatten(cell.initial_state(1))[0].shape[1] for cell in cells}  # type: ignore[operator]
        if merge != "concat" and len(widths) > 1:
            raise ModelFileError(f"{fields.where} merges directions of different widths by {merge!r}.")
        return cls(
            cells,
            merge,
            fields.get("reverse", bool),
            fields.choice("outputs", cls.OUTPUTS),
            fields.get("zeros_at_skipped", bool),
            fields.get("stateful", bool),
            "skips" not in fields.data or fields.get("skips", bool),
        )

    def forward(self, x: Signal, *initial: Signal) -> Signal:
        """Steps (N, F) -> the outputs that `outputs` names, and the last states; the mask stays with the steps."""
        offsets = x.steps("A recurrent layer")
        kept = x.kept() if self.skips else None
        values, inner = x.values, offsets
        if kept is not None:
            assert x.mask is not None
            values, inner = values[kept], kept_offsets(offsets, x.mask)
        index = None
        if x.table is not None:
            values, index = self._looked_up(values, x.table)
        states = self._states(x.batch_size, initial)
        output, finals = self.layer.run(values, inner, states, index)
        if self.stateful:
            self.carried = [[leaf.detach() for leaf in flatten(final)] for final in finals]
        ends = tuple(leaf for final in finals for leaf in _in_order(self.layer.cell, final))
        if self.outputs == "last":
            return Signal(self._merged([flatten(final)[0] for final in finals]), states=ends)
        parts = [output]
        if self.layer.bidirectional:
            parts = list(output.split([flatten(final)[0].shape[1] for final in finals], dim=-1))
        if kept is not None:
            backward = [direction.reverse for direction in self.layer.directions()]
            parts = [
                spread(part, x.mask, offsets, back, self.zeros_at_skipped)  # type: ignore[arg-type]
                for part, back in zip(parts, backward)
            ]
        merged = self._merged(parts)
        if self.outputs == "reversed_steps":
            merged = Ragged(merged, offsets).reverse().values
        return replace(x.with_values(merged), states=ends)

    def _merged(self, parts: list[Tensor]) -> Tensor:
        return merge_outputs(parts, self.merge) if len(parts) > 1 else parts[0]

    def _looked_up(self, ids: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's input, each distinct row once, and the row of each step."""
        frozen = self.layer.frozen
        if frozen is not None and frozen.table is not None:
            return frozen.table, ids
        ids, index = ids.unique(return_inverse=True)
        return table[ids], index

    def _states(self, batch: int, given: tuple[Signal, ...] = ()) -> list[Any]:
        initial = self.layer.initial_state(batch)
        states = list(initial) if self.layer.bidirectional else [initial]
        if given and isinstance(self.layer.cell, StackedCell):
            raise DataError("Cells one after the other cannot start from given states here.")
        if given:
            return _filled(states, given)
        if not self.stateful or self.carried is None:
            return states
        if len(self.carried[0][0]) != batch:
            raise DataError(
                f"A stateful layer carries the states of {len(self.carried[0][0])} sequences. Got {batch}. "
                "Call reset_states() for new ones."
            )
        carried = [tuple(leaves) if len(leaves) > 1 else leaves[0] for leaves in self.carried]
        return carried


def _in_order(cell: nn.Module, state: Any) -> list[Tensor]:
    """The parts of a state; of a stack those of its first cell first."""
    if isinstance(cell, StackedCell):
        return [leaf for part in reversed(state) for leaf in flatten(part)]
    return list(flatten(state))


def _filled(states: list[Any], given: tuple[Signal, ...]) -> list[Any]:
    """`states` with these values in place of their own; `DataError` where they do not fit."""
    leaves = [flatten(state) for state in states]
    wanted = [tuple(leaf.shape) for state in leaves for leaf in state]
    got = [tuple(signal.looked_up().shape) for signal in given]
    if any(signal.offsets is not None for signal in given) or got != wanted:
        raise DataError(f"A recurrent layer's first states must be rows of shapes {wanted}. Got {got}.")
    values = iter(signal.looked_up() for signal in given)
    found = [tuple(next(values) for _ in state) for state in leaves]
    return [state if len(state) > 1 else state[0] for state in found]


class StateOf(nn.Module):
    """The state of this number that a recurrent layer ended with: (B, H)."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @classmethod
    def from_fields(cls, fields: Fields) -> StateOf:
        """The layer that a saved model describes."""
        number = fields.get("number", int)
        if number < 0:
            fields._bad("number", "an int of 0 or more", number)
        return cls(number)

    def forward(self, x: Signal) -> Signal:
        """The state, a row for each sequence."""
        if self.number >= len(x.states):
            raise DataError(f"There is no state {self.number}: the layer before ends with {len(x.states)}.")
        return Signal(x.states[self.number])


def reset(network: nn.Module) -> None:
    """Forget the states that stateful layers carry."""
    for module in network.modules():
        if isinstance(module, RecurrentLayer):
            module.carried = None


def is_stateful(network: nn.Module) -> bool:
    """Whether a layer carries its state from call to call."""
    return any(isinstance(module, RecurrentLayer) and module.stateful for module in network.modules())


__all__ = ["CELLS", "RecurrentLayer", "StateOf", "build_cell", "is_stateful", "reset"]
