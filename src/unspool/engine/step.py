"""One step of a cell, natively: for streams that come a token at a time, without gradients."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native
from unspool.engine.dispatch import Direction, choose, run
from unspool.engine.native import Stream, parameter_rows
from unspool.program import sources
from unspool.program.ir import Program
from unspool.program.signature import Unchanged
from unspool.program.trace import Parameter
from unspool.state import flatten, unflatten


def step(cell: nn.Module, x: Tensor, state: Any, engine: str = "auto") -> Any:
    """The state after one step: x (B, F), state of (B, ·) parts. As `cell(x, state)`, on the fastest path.

    Raises `EngineError` where `engine` is "native" and the step cannot run there.
    """
    if torch.compiler.is_compiling():
        return cell(x, state)
    if torch.is_grad_enabled() and any(
        t.requires_grad for t in chain((x, *flatten(state)), cell.parameters())
    ):
        return run([Direction(cell)], x, torch.arange(len(x) + 1), [state], engine)[1][0]
    known = _known.get(id(cell))
    if known is None or engine == "eager" or not known.unchanged():
        path = choose([Direction(cell)], x, [state], engine)
        if path.engine != "native":
            return cell(x, state)
        if id(cell) not in _known:
            weakref.finalize(cell, _known.pop, id(cell), None)
        known = _known[id(cell)] = Step(cell, path.programs[0])
    new = known.run(cell, x, state)
    if new is None:
        return run([Direction(cell)], x, torch.arange(len(x) + 1), [state], engine)[1][0]
    return new


def in_place(given: Sequence[Any], widths: Sequence[int], batch: int) -> bool:
    """Whether native code can read `given`, float32 tensors (batch, width) of these widths, where they lie."""
    for tensor, width in zip(given, widths):
        if (
            not isinstance(tensor, Tensor)
            or tensor.shape != (batch, width)
            or tensor.dtype is not torch.float32
            or not tensor.is_cpu
            or not tensor.is_contiguous()
        ):
            return False
    return len(given) == len(widths)


class Step:
    """A cell's step, ready to run for as long as nothing of the cell changes but the numbers in its weights.

    Weights are read in place, not from a packed copy: a copy could be stale, as numbers may change in ways that
    leave no trace (`weight.data.mul_(2)`).
    """

    def __init__(self, cell: nn.Module, program: Program) -> None:
        self.unchanged = Unchanged(cell)
        self.program = program
        self.widths = [program.input_size, *program.state_sizes]
        self.used = sources.used(program)
        stream = Stream(program, False, self.used)
        weights = sources.resolve(program, self.used, Direction(cell).weight)
        own = all(isinstance(program.sources[i], Parameter) for i in self.used)
        self.weights = weights if own else None
        self.layout = [(w.shape, w.stride(), w.dtype) for w in weights]
        rows = parameter_rows(stream, weights, [])
        self.native = _native.Step(stream.plan(False, False).native, rows, self.used)

    def run(self, cell: nn.Module, x: Tensor, state: Any) -> Any:
        """The next state; None where tensors are not as the step was prepared for."""
        batch = x.shape[0]
        given = (x, *state) if type(state) is tuple else (x, state)
        flat = in_place(given, self.widths, batch)
        if not flat:
            given = (x.contiguous(), *(leaf.contiguous() for leaf in flatten(state)))
            if not in_place(given, self.widths, batch):
                return None
        new = [torch.empty(batch, width) for width in self.widths[1:]]
        addresses = [tensor.data_ptr() for tensor in (*given, *new)]
        weights = self.weights
        if weights is None:
            weights = sources.resolve(self.program, self.used, Direction(cell).weight)
        for weight, (shape, stride, dtype) in zip(weights, self.layout):
            if weight.shape != shape or weight.stride() != stride or weight.dtype is not dtype:
                return None
            addresses.append(weight.data_ptr())
        self.native.run(batch, addresses, torch.get_num_threads())
        if flat:
            return tuple(new) if type(state) is tuple else new[0]
        return unflatten(state, new)


_known: dict[int, Step] = {}  # of living cells, by their id
