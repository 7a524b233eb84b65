"""Cells frozen for prediction: weights laid out once, in float32 or in narrower numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unspool import _native
from unspool.engine import native, sources
from unspool.engine.dispatch import Direction, program_of
from unspool.engine.state import flatten, unflatten
from unspool.engine.step import in_place
from unspool.errors import EngineError

FORMS: dict[str, int] = dict(_native.FORMS)


class Frozen:
    """The directions of a layer with the weights that they have when they are first run, or at `prepare`.

    weights: "float32"; "bfloat16": the weights, and what they multiply, rounded to 8 significant bits; "int8": each
        column of a matrix in steps of 1/127 of its largest number, each row that it multiplies likewise. Sums, states
        and all other operations are float32.
    Copies and pickles are prepared anew.
    """

    def __init__(self, directions: Sequence[Direction], weights: str) -> None:
        self.directions, self.weights = list(directions), weights
        self.made: Any = None
        self.table: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"directions": self.directions, "weights": self.weights, "made": None, "table": None}

    def prepare(self, input_size: int, states: Sequence[Any]) -> None:
        """Lay the weights out. Raises `EngineError` for a cell that the native engine cannot run."""
        streams: list[native.Stream] = []
        args: list[Any] = []
        for direction, state in zip(self.directions, states):
            program = program_of(direction, input_size, state)
            if isinstance(program, str):
                raise EngineError(f"Only what the native engine runs can be frozen: {program}.")
            used = sources.used(program)
            stream = native.Stream(program, direction.reverse, used)
            with torch.no_grad():
                weights = sources.resolve(program, used, direction.weight)
            plan = stream.plan(False, False)
            rows = native.parameter_rows(stream, weights, [])
            args.append((plan.native, stream.reverse, rows, [], [0] * 8, weights))
            streams.append(stream)
        self.call = native.Call(streams, False, False)
        self.widths = [input_size, *(width for s in streams for width in s.program.state_sizes)]
        programs = tuple(program for program, *_ in args)
        self.made = _native.Frozen(args, FORMS[self.weights], torch.get_num_threads(), programs)
        self.table = None

    def projected_width(self) -> int:
        """Numbers that a projected row takes."""
        return sum(plan.widths["pro"] for plan in self.call.plans())

    def project(self, values: Tensor, states: Sequence[Any]) -> None:
        """Compute what the cells make of each row of `values` (V, F), such as an embedding's, once: now `table`."""
        if self.made is None or values.shape[1] != self.widths[0]:
            self.prepare(values.shape[1], states)
        self.table = values.detach().contiguous()
        nothing = torch.zeros(1, dtype=torch.int64)
        self.made.project(native.batch_row(self.table, nothing, nothing[:0]))

    def run(
        self, values: Tensor, offsets: Tensor, states: Sequence[Any], index: Tensor | None = None
    ) -> tuple[Tensor, list[Any]]:
        """As `engine.dispatch.run`. `index` into `values` that are the `table`: into the projected rows."""
        if torch.compiler.is_compiling():
            from unspool.engine import compiled

            return compiled.outside(self.run, values, offsets, states, index)
        self._check(values, states, len(offsets) - 1)
        projected = values is self.table
        if projected and index is not None and len(index):
            low, high = int(index.min()), int(index.max())
            if not 0 <= low <= high < len(values):
                raise IndexError(
                    f"The ids must be in [0, {len(values)}), the rows projected. Got {low} to {high}."
                )
        made = partial(self.made.forward, projected=projected)
        results, _ = native.forward(self.call, values, offsets, index, self._flat(states), frozen=made)
        finals, at = [], 1
        for state in states:
            count = len(flatten(state))
            finals.append(unflatten(state, results[at : at + count]))
            at += count
        return results[0], finals

    def step(self, x: Tensor, state: Any) -> Any:
        """The state after one step: x (B, F), state of (B, ·) parts."""
        if torch.compiler.is_compiling():
            from unspool.engine import compiled

            return compiled.outside(self.step, x, state)
        batch = x.shape[0]
        given = (x, *state) if type(state) is tuple else (x, state)
        flat = self.made is not None and in_place(given, self.widths, batch)
        if not flat or torch.is_grad_enabled():
            self._check(x, [state], batch)
            given = (x.contiguous(), *(leaf.contiguous() for leaf in flatten(state)))
        new = [torch.empty(batch, width) for width in self.widths[1:]]
        self.made.step(batch, [t.data_ptr() for t in (*given, *new)], torch.get_num_threads())
        if flat:
            return tuple(new) if type(state) is tuple else new[0]
        return unflatten(state, new)

    def _flat(self, states: Sequence[Any]) -> list[Any]:
        """The call's tensors: initial states, and nothing for the sources."""
        flat: list[Any] = []
        for stream, state in zip(self.call.streams, states):
            flat += [*flatten(state), *([None] * len(stream.sources))]
        return flat

    def _check(self, x: Tensor, states: Sequence[Any], batch: int) -> None:
        """Prepares what is not, and raises `EngineError` for tensors that it cannot take."""
        leaves = [leaf for state in states for leaf in flatten(state)]
        for tensor in (x, *leaves):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise EngineError(
                    "A frozen layer takes torch.float32 tensors on the CPU. "
                    f"Got {tensor.dtype} on {tensor.device}. Convert the input, or use the layer itself."
                )
            if tensor.requires_grad and torch.is_grad_enabled():
                raise EngineError(
                    "A frozen layer has no gradients. Got a tensor that requires one. "
                    "Use the layer itself, or call it under torch.no_grad()."
                )
        if self.made is None or x.shape[1] != self.widths[0]:
            self.prepare(x.shape[1], states)
        expected = [(batch, width) for width in self.widths[1:]]
        if [tuple(leaf.shape) for leaf in leaves] != expected:
            raise EngineError(
                f"The state must have parts of shape {expected}. Got {[tuple(leaf.shape) for leaf in leaves]}."
            )
