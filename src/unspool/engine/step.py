"""One step of a cell, natively: for streams that come a token at a time, without gradients."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native
from unspool.engine import door, memory, mismatch
from unspool.engine.dispatch import Direction, as_computed, choose, run, warn_slow
from unspool.engine.native import Call, Stream
from unspool.engine.programs import Memory, current
from unspool.program import sources, surroundings
from unspool.program.ir import Program
from unspool.program.trace import Parameter
from unspool.state import flatten, unflatten, widths


def step(cell: nn.Module, x: Tensor, state: Any, engine: str = "auto") -> Any:
    """The state after one step: x (B, F), state of (B, ·) parts. As `cell(x, state)`, on the fastest path.

    Raises `EngineError` where `engine` is "native" and the step cannot run there.
    """
    if torch.compiler.is_compiling():
        door.weights_of_step(cell)
        state = door.state_of_step(state, cell.initial_state(x.shape[0]))  # type: ignore[operator]
        if torch.compiler.is_dynamo_compiling():
            return cell(x, state) if engine == "eager" else _unreached(cell, x, state)
        with mismatch.explained([Direction(cell)], x, [state]):  # torch.export, which runs Python itself
            return cell(x, state) if engine == "eager" else _unreached(cell, x, state)
    if not surroundings.calm() or (
        torch.is_grad_enabled()
        and any(t.requires_grad for t in chain((x, *flatten(state)), cell.parameters()))
    ):
        return _as_sequences(cell, x, state, engine)
    of_cell = Memory.of(cell)
    known = of_cell.step
    if known is None or engine == "eager" or not known.unchanged():
        path = choose([Direction(cell)], x, [state], engine)
        if path.engine != "native":
            if engine == "auto":
                warn_slow(path)
            state = door.state_of_step(state, cell.initial_state(x.shape[0]))  # type: ignore[operator]
            with mismatch.explained([Direction(cell)], x, [state]):
                return cell(x, state)
        known = of_cell.step = Step(cell, path.programs[0], (int(x.shape[1]), widths(state)))
    new = known.run(cell, x, state)
    return _as_sequences(cell, x, state, engine) if new is None else new


def _unreached(cell: nn.Module, x: Tensor, state: Any) -> Any:
    """The cell's step for torch.compile, in float32 under autocast, as the native engine's."""
    if not torch.is_autocast_enabled("cpu"):
        return cell(x, state)
    x, (state,) = as_computed(x, [state])
    with torch.autocast("cpu", enabled=False):
        return cell(x, state)


def _as_sequences(cell: nn.Module, x: Tensor, state: Any, engine: str) -> Any:
    """The state after sequences of one step each."""
    state = door.state_of_step(state, cell.initial_state(len(x)))  # type: ignore[operator]
    offsets = torch.arange(len(x) + 1, dtype=torch.int64, device="cpu")
    return run([Direction(cell)], x, offsets, [state], engine)[1][0]


class Step:
    """A cell's step, ready to run for as long as nothing of the cell changes but the numbers in its weights.

    Weights are read in place, not from a packed copy: a copy could be stale, as numbers may change in ways that
    leave no trace (`weight.data.mul_(2)`).
    """

    def __init__(self, cell: nn.Module, program: Program, sizes: Any) -> None:
        self.unchanged = current(cell, sizes).unchanged
        self.program = program
        self.widths = program.state_sizes
        self.used = sources.used(program)
        own = all(isinstance(program.sources[i], Parameter) for i in self.used)
        self.weights = sources.resolve(program, self.used, Direction(cell).weight) if own else None
        self.native = _native.Step(Call([Stream(program, False, self.used)], False, False).native)

    def run(self, cell: nn.Module, x: Tensor, state: Any) -> Any:
        """The next state; None where tensors are not as the program needs them, or gradients are asked for."""
        batch = x.shape[0]
        new = [memory.empty(batch, width) for width in self.widths]
        weights = self.weights
        if weights is None:
            weights = sources.resolve(self.program, self.used, Direction(cell).weight)
            if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
                return None  # of a tensor that is no parameter of the cell
        threads = torch.get_num_threads()
        parts = state if type(state) is tuple else (state,)
        if self.native.run((x, *parts, *new), weights, threads):
            return tuple(new) if type(state) is tuple else new[0]
        given = [tensor.contiguous() for tensor in (x, *flatten(state))]
        if self.native.run((*given, *new), weights, threads):
            return unflatten(state, new)
        return None
