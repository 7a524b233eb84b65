"""The short way of a `Recurrent`: a call that is as the one before is compared with it, not looked at anew."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unspool.cells.base import Cell
from unspool.engine.dispatch import choose
from unspool.engine.ready import Ready
from unspool.state import flatten, unflatten

# What a call looks at everything with: a class that has its own of these goes the long way each time.
_LOOKS = ("directions", "cells", "run", "initial_state", "_states", "_call", "_merged", "_check_width")
_HOME = "unspool.nn.recurrent"


class ShortWay(nn.Module):
    """What `Recurrent` asks before it looks at everything; `_ready` is its last call, made ready, or None."""

    start: Any
    noise: Any
    reverse: bool
    bidirectional: bool
    batch_first: bool
    engine: str
    precision: str
    cells: Any
    directions: Any
    _states: Any
    _merged: Any

    def _padded_as_before(self, x: Tensor, state: Any) -> tuple[Any, Any] | None:
        """As `self(x, state)` by a call that is ready, without a `Ragged` between; None: there is none."""
        batched = x.dim() == 3
        values = x.unsqueeze(0) if not batched else x if self.batch_first else x.transpose(0, 1)
        states = None
        if state is not None:
            if self.bidirectional and not (isinstance(state, (tuple, list)) and len(state) == 2):
                return None
            states = list(state) if self.bidirectional else [state]
            if not batched:
                states = [unflatten(s, [leaf.unsqueeze(0) for leaf in flatten(s)]) for s in states]
        found = self._as_before(values, None, None, states)
        if found is None:
            return None
        output, finals = found
        if not batched:
            finals = [unflatten(final, [leaf[0] for leaf in flatten(final)]) for final in finals]
        final = tuple(finals) if self.bidirectional else finals[0]
        outputs = self._merged(output)
        restored = [
            each[0] if not batched else each if self.batch_first else each.transpose(0, 1).contiguous()
            for each in (outputs if isinstance(outputs, tuple) else (outputs,))
        ]
        return tuple(restored) if isinstance(outputs, tuple) else restored[0], final

    def _as_before(
        self, values: Tensor, offsets: Tensor | None, index: Tensor | None, states: list[Any] | None
    ) -> tuple[Tensor, list[Any]] | None:
        """The output and final states of a call that is ready; None where something is not as it was.

        values: (N, F), or (B, T, F) without offsets. states: None for the ones that the layer starts from.
        """
        ready: Ready | None = self.__dict__["_ready"]
        if ready is None or (self.training and self.noise.any):
            return None
        if not ready.holds(self._settings()):
            self.__dict__["_ready"] = None
            return None
        if states is None and not (self.start == "cell" and all(map(_starts_from_zeros, self.cells()))):
            states = self._states(values.shape[0], None, True)
        directions = [] if ready.weights is not None else self.directions()
        tensors = ready.tensors(directions, states)
        results = None if tensors is None else ready.run(values, offsets, index, tensors)
        if results is None:
            self.__dict__["_ready"] = None
            return None
        finals, at = [], 1
        for like, parts in zip(ready.like, ready.parts):
            finals.append(unflatten(like, results[at : at + parts]))
            at += parts
        return results[0], finals

    def _settings(self) -> Any:
        """What a call is made ready for."""
        own, cells = self.__dict__, self._modules
        return (
            *(cells.get("cell"), cells.get("reverse_cell"), own["reverse"], own["bidirectional"]),
            *(own["engine"], own["precision"], own["frozen"], own["noise"]),
        )

    def _make_ready(self, values: Tensor, states: list[Any]) -> Ready | None:
        """A call, after it ran; None where it was not the native engine's, or noise is part of it."""
        directions = self.directions()
        if (
            (self.training and self.noise.any)
            or self.noise.zoneout
            or any(getattr(type(self), name).__module__ != _HOME for name in _LOOKS)
            or choose(directions, values, states, self.engine).engine != "native"
        ):
            return None
        once = self.engine == "native"
        size = int(values.shape[1])
        return Ready(directions, size, states, self._settings(), once, self.precision)


def _starts_from_zeros(cell: Any) -> bool:
    return type(cell).initial_state is Cell.initial_state and "initial_state" not in cell.__dict__
