"""Cells frozen for prediction: weights laid out once, in float32 or in narrower numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unspool import _native
from unspool.engine import memory, mismatch, native
from unspool.engine.dispatch import Direction
from unspool.engine.programs import program_of
from unspool.errors import DataError, EngineError
from unspool.program import sources, surroundings
from unspool.state import flatten, unflatten

FORMS: dict[str, int] = dict(_native.FORMS)


@dataclass
class Ready:
    """The weights laid out, for inputs and states of `widths`; `table` as in `Frozen.project`, all that may change."""

    call: native.Call
    widths: list[int]
    made: Any
    table: Tensor | None = None


class Frozen:
    """The directions of a layer with the weights that they have when they are first run, or at `prepare`.

    weights: "float32"; "bfloat16": the weights, and what they multiply, rounded to 8 significant bits; "int8": each
        column of a matrix in steps of 1/127 of its largest number, each row that it multiplies likewise. Sums, states
        and all other operations are float32.
    input_size: the only width that the input may have; None: any, each prepared anew.
    Copies and pickles are prepared anew.
    """

    def __init__(self, directions: Sequence[Direction], weights: str, input_size: int | None = None) -> None:
        self.directions, self.weights, self.input_size = list(directions), weights, input_size
        self.ready: Ready | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "ready": None}

    @property
    def table(self) -> Tensor | None:
        """What `run` takes for the rows that were projected."""
        return None if self.ready is None else self.ready.table

    @property
    def made(self) -> Any:
        """The native streams; None before they are first run."""
        return None if self.ready is None else self.ready.made

    def prepare(self, input_size: int, states: Sequence[Any]) -> Ready:
        """Lay the weights out. Raises `EngineError` for a cell that the native engine cannot run."""
        streams: list[native.Stream] = []
        given: list[Tensor] = []
        for direction, state in zip(self.directions, states):
            program = program_of(direction.cell, input_size, state)
            if isinstance(program, str):
                got = mismatch.shapes_of_weights(direction)
                weighted = (
                    f"It takes weights of torch.float32, of the shapes that its step multiplies. Got {got}."
                )
                raise EngineError(f"Only what the native engine runs can be frozen: {program}. {weighted}")
            used = sources.used(program)
            stream = native.Stream(program, direction.reverse, used)
            with torch.no_grad():
                weights = sources.resolve(program, used, direction.weight)
            if any(weight.is_meta for weight in weights):
                raise EngineError(
                    f"Only weights with numbers can be frozen. Those of {type(direction.cell).__name__} are on "
                    "the 'meta' device: give them numbers first (to_empty, then load_state_dict)."
                )
            streams.append(stream)
            given += weights
        call = native.Call(streams, False, False)
        made = _native.Frozen(call.native, given, FORMS[self.weights], torch.get_num_threads())
        widths = [input_size, *(width for s in streams for width in s.program.state_sizes)]
        self.ready = Ready(call, widths, made)
        return self.ready

    def projected_width(self, input_size: int, states: Sequence[Any]) -> int:
        """Numbers that a projected row takes."""
        return sum(plan.widths["pro"] for plan in self._ready(input_size, states).call.plans)

    def project(self, values: Tensor, states: Sequence[Any]) -> None:
        """Compute once what the cells make of each row of `values` (V, F), such as an embedding's. states: of one row.

        `table` (V, F) then stands for these rows in `run`; it takes no memory, and its numbers are not read.
        """
        values = values.detach().contiguous()
        ready = self._checked(values, states, 1)
        table: Any = memory.empty(1, values.shape[1]).fill_(torch.nan).expand(len(values), -1)
        table.projected = ready, ready.made.project(values, torch.get_num_threads())
        ready.table = table

    def run(
        self, values: Tensor, offsets: Tensor, states: Sequence[Any], index: Tensor | None = None
    ) -> tuple[Tensor, list[Any]]:
        """As `engine.dispatch.run`. `index` into `values` that are the `table`: into the projected rows."""
        if torch.compiler.is_compiling():
            return _outside(self.run, values, offsets, states, index)
        _check_surroundings([values, *(leaf for state in states for leaf in flatten(state))])
        ready = self._checked(values, states, len(offsets) - 1)
        projected = None
        if hasattr(values, "projected"):  # a table goes with the weights that it was made with
            ready, projected = values.projected
        if index is not None:
            check_ids(index)
            index = index.to(torch.int64).contiguous()
        parts = [leaf for state in states for leaf in flatten(state)]
        results = ready.made.forward(values, offsets, index, parts, projected, torch.get_num_threads())
        return results[0], [unflatten(s, f) for s, f in zip(states, ready.call.finals(results))]

    def step(self, x: Tensor, state: Any) -> Any:
        """The state after one step: x (B, F), state of (B, ·) parts."""
        if torch.compiler.is_compiling():
            return _outside(self.step, x, state)
        batch, ready, threads = x.shape[0], self.ready, torch.get_num_threads()
        if not surroundings.calm():
            _check_surroundings([x, *flatten(state)])
        elif ready is not None and not torch.is_grad_enabled():
            new = [memory.empty(batch, width) for width in ready.widths[1:]]
            parts = state if type(state) is tuple else (state,)
            if ready.made.step((x, *parts, *new), threads):
                return tuple(new) if type(state) is tuple else new[0]
        ready = self._checked(x, [state], batch)
        new = [memory.empty(batch, width) for width in ready.widths[1:]]
        given = [tensor.resolve_neg().contiguous() for tensor in (x, *flatten(state))]
        if not ready.made.step((*given, *new), threads):
            raise EngineError(
                "A step of a frozen layer takes plain tensors with memory of their own. Got "
                f"{', '.join(_kind(tensor) for tensor in given)}. Use the layer itself."
            )
        return unflatten(state, new)

    def step_into(self, x: Tensor, state: tuple[Tensor, ...], new: Sequence[Tensor]) -> bool:
        """As `step`, into tensors that are there, and without a word where it cannot: False, and nothing is written.

        new: as many as state, of the same shapes, none of its memory.
        """
        ready = self.ready
        if ready is None or torch.is_grad_enabled() or not surroundings.calm():
            return False
        return ready.made.step((x, *state, *new), torch.get_num_threads())

    def _ready(self, input_size: int, states: Sequence[Any]) -> Ready:
        ready = self.ready
        if ready is None or ready.widths[0] != input_size:
            ready = self.prepare(input_size, states)
        return ready

    def _checked(self, x: Tensor, states: Sequence[Any], batch: int) -> Ready:
        """What runs these tensors, prepared where it is not; `EngineError` or `DataError` where nothing can."""
        if x.dim() != 2 or self.input_size not in (None, x.shape[1]):
            width = "F" if self.input_size is None else self.input_size
            raise DataError(f"The input must be (rows, {width}). Got {tuple(x.shape)}.")
        leaves = [leaf for state in states for leaf in flatten(state)]
        for tensor in (x, *leaves):
            if (
                tensor.dtype != torch.float32
                or tensor.device.type != "cpu"
                or tensor.layout is not torch.strided
            ):
                raise EngineError(
                    "A frozen layer takes strided torch.float32 tensors on the CPU. Got "
                    f"{tensor.dtype} on {tensor.device}, {tensor.layout}. Convert the input, or use the layer itself."
                )
            if tensor.requires_grad and torch.is_grad_enabled():
                raise EngineError(
                    "A frozen layer has no gradients. Got a tensor that requires one. "
                    "Use the layer itself, or call it under torch.no_grad()."
                )
        ready = self._ready(x.shape[1], states)
        expected = [(batch, width) for width in ready.widths[1:]]
        if [tuple(leaf.shape) for leaf in leaves] != expected:
            raise EngineError(
                f"The state must have parts of shape {expected}. Got {[tuple(leaf.shape) for leaf in leaves]}."
            )
        return ready


def _outside(function: Any, *args: Any) -> Any:
    """`function(*args)` under torch.compile: the compiler breaks its graph."""
    from unspool.engine import compiled

    if torch.compiler.is_exporting():
        raise EngineError(FOLLOWED.format("torch.export"))
    return compiled.outside(function, *args)


FOLLOWED = (
    "A frozen layer computes outside of torch, where {} cannot follow. Use the layer itself, not frozen."
)


def _check_surroundings(tensors: Sequence[Tensor]) -> None:
    """Raises `EngineError` where something wants to see each operation on `tensors`."""
    if surroundings.calm() and not any(map(surroundings.is_fake, tensors)):
        return
    if surroundings.scripted():
        raise EngineError(FOLLOWED.format("torch.jit.trace"))
    if surroundings.traced() or any(map(surroundings.is_fake, tensors)):
        raise EngineError(FOLLOWED.format("a tracer of operations (make_fx, fake tensors, torch.export)"))
    if torch._C._are_functorch_transforms_active():
        raise EngineError(FOLLOWED.format("a transform of torch.func (vmap, grad, jvp, functionalize)"))
    if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise EngineError(FOLLOWED.format("forward-mode differentiation"))


def _kind(tensor: Tensor) -> str:
    """What a tensor that the native engine refused is."""
    if tensor.layout is not torch.strided:
        return f"one of the layout {tensor.layout}"
    size = tensor.untyped_storage().nbytes()
    return f"a {type(tensor).__name__} of shape {tuple(tensor.shape)} in a storage of {size} bytes"


def check_ids(ids: Tensor) -> None:
    """Raises `DataError` unless `ids` are whole numbers (N,)."""
    if ids.dim() != 1 or ids.dtype not in (torch.int64, torch.int32):
        raise DataError(f"Ids must be int64 or int32, (N,). Got {ids.dtype}, {tuple(ids.shape)}.")
