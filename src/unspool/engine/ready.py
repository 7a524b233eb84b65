"""Calls of a layer made ready once: the next one is a few comparisons and one entry into compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unspool import _native
from unspool.engine import native
from unspool.engine.dispatch import Direction
from unspool.engine.programs import current
from unspool.errors import DataError, EngineError
from unspool.program import sources, surroundings
from unspool.program.ir import Program
from unspool.program.trace import Computed, Parameter
from unspool.state import flatten, widths

# What compiled code says of a tensor that it does not take. Whoever looks at everything then finds the words, or a way.
_REFUSED = (EngineError, DataError, IndexError, TypeError, ValueError)
_apply: Callable[..., Any] = super(torch.autograd.Function, native._Run).apply  # no transforms are active


class Ready:
    """Directions that the native engine runs, for as long as their cells are what was traced.

    of: the layer's settings that it was made for, which the layer compares.
    names: of each direction the names of its weights.
    weights: of each direction its weights; None where the layer has them, or the cell computes some.
    like: of each direction a state in its form.
    """

    def __init__(
        self,
        directions: Sequence[Direction],
        size: int,
        states: Sequence[Any],
        of: Any,
        once: bool = False,
        precision: str = "float32",
        stacked: bool = False,
    ) -> None:
        """Raises `EngineError` where a cell has no program."""
        self.of, self.like = of, list(states)
        self.once, self.precision, self.stacked = once, precision, stacked
        self.guards = []
        self.streams: list[native.Stream] = []
        self.names: list[list[str]] = []
        self.weights: list[list[Tensor]] | None = []
        for direction, state in zip(directions, states):
            made = current(direction.cell, (size, widths(state)))
            if not isinstance(made.found, Program):
                raise EngineError(str(made.found))
            program, used = made.found, sources.used(made.found)
            self.guards.append(made.unchanged)
            self.streams.append(native.Stream(program, direction.reverse, used))
            taken = [program.sources[i] for i in used]
            self.names.append([s.name for s in taken if isinstance(s, Parameter)])
            if direction.weights is not None or any(isinstance(s, Computed) for s in taken):
                self.weights = None
            elif self.weights is not None:
                self.weights.append(sources.resolve(program, used, direction.weight))
        self.parts = [len(s.program.state_sizes) for s in self.streams]
        self.calls: list[native.Call | None] = [None, None, None]

    def __reduce__(self) -> Any:
        return _none, ()

    def __deepcopy__(self, _: Any) -> None:
        return None

    def holds(self, of: Any) -> bool:
        """Whether the layer, whose settings are `of`, and the cells are what they were."""
        if of != self.of:
            return False
        for unchanged in self.guards:  # noqa: SIM110  (a generator takes as long as what it asks for)
            if not unchanged():
                return False
        return True

    def tensors(self, directions: Sequence[Direction], states: Sequence[Any] | None) -> list[Any] | None:
        """Those of a call that is not stacked. states: of each direction, None for zeros. None: other states."""
        found: list[Any] = []
        for d, stream in enumerate(self.streams):
            parts = [None] * self.parts[d] if states is None else flatten(states[d])
            if len(parts) != self.parts[d]:
                return None
            found += parts
            if self.weights is not None:
                found += self.weights[d]
            else:
                found += sources.resolve(stream.program, stream.sources, directions[d].weight)
        return found

    def run(
        self, values: Tensor, offsets: Tensor | None, index: Tensor | None, tensors: Sequence[Any]
    ) -> Sequence[Tensor] | None:
        """As `native.run`; None where a tensor is not as the call needs it: nothing has run."""
        wanted = _native.gradients_wanted(values, tensors)
        if wanted < 0:
            return None
        level = wanted if wanted and torch.is_grad_enabled() else 0
        call = self.calls[level] or self._call(level)
        try:
            if level:
                return _apply(call, values, offsets, index, *tensors)
            return call.native.forward(values, offsets, index, tensors, True, torch.get_num_threads())
        except _REFUSED:
            return None

    def _call(self, level: int) -> native.Call:
        precision = self.precision if level else "float32"
        made = native.Call(self.streams, level > 0, level > 1, self.once, precision, self.stacked)
        self.calls[level] = made
        return made


def _none() -> None:
    """What a `Ready` is in a copy or a pickle."""


def viewable(tensor: Any) -> bool:
    """Whether it is a tensor that torch makes views of, by rows or with an axis more."""
    return isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.dim() > 0


def calls_can_be_ready() -> bool:
    """Whether nothing surrounds the call that has to be looked at."""
    return not torch.compiler.is_compiling() and surroundings.quiet()
