"""One step of a cell, natively: for streams that come a token at a time, without gradients."""

from __future__ import annotations

import weakref
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native
from unspool.engine import sources
from unspool.engine.dispatch import Direction, choose, run
from unspool.engine.native import Stream, parameter_rows
from unspool.engine.signature import Unchanged
from unspool.engine.state import flatten, unflatten
from unspool.engine.trace import Parameter


def step(cell: nn.Module, x: Tensor, state: Any, engine: str = "auto") -> Any:
    """The state after one step: x (B, F), state of (B, ·) parts. As `cell(x, state)`, on the fastest path.

    Raises `EngineError` where `engine` is "native" and the step cannot run there.
    """
    if torch.compiler.is_compiling():
        return cell(x, state)
    leaves = flatten(state)
    if torch.is_grad_enabled() and any(t.requires_grad for t in chain((x, *leaves), cell.parameters())):
        return run([Direction(cell)], x, torch.arange(len(x) + 1), [state], engine)[1][0]
    known = _known.get(cell)
    if known is None or engine == "eager" or not known.holds(x, leaves):
        path = choose([Direction(cell)], x, [state], engine)
        if path.engine != "native":
            return cell(x, state)
        known = _known[cell] = Step(cell, path.programs[0])
    return unflatten(state, known.run(cell, x, leaves))


class Step:
    """A cell's step, ready to run for as long as nothing of the cell changes but the numbers in its weights.

    Weights are read in place, not from a packed copy: a copy could be stale, as numbers may change in ways that
    leave no trace (`weight.data.mul_(2)`).
    """

    def __init__(self, cell: nn.Module, program: Any) -> None:
        self.program = program
        self.stream = Stream(program, False, sources.used(program))
        self.native = self.stream.plan(False, False).native
        self.widths = [program.input_size, *program.state_sizes]
        self.unchanged = Unchanged(cell)
        used = [program.sources[i] for i in self.stream.sources]
        weight = Direction(cell).weight
        self.weights = [weight(s.name) for s in used] if all(isinstance(s, Parameter) for s in used) else None
        self.shapes = [w.shape for w in self.weights or []]
        self.rows = parameter_rows(self.stream, self.weights or [], []) if self.weights is not None else []
        self.offsets = torch.arange(2)

    def holds(self, x: Tensor, leaves: list[Tensor]) -> bool:
        """Whether the call is one that `run` can take."""
        given = (x, *leaves)
        if len(given) != len(self.widths):
            return False
        for tensor, width in zip(given, self.widths):
            if tensor.dim() != 2 or tensor.shape[1] != width or tensor.dtype is not torch.float32:
                return False
            if tensor.shape[0] != x.shape[0] or tensor.device.type != "cpu":
                return False
        for weight, shape in zip(self.weights or (), self.shapes):
            if weight.shape != shape or not weight.is_contiguous() or weight.dtype is not torch.float32:
                return False
        return self.unchanged()

    def run(self, cell: nn.Module, x: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        batch = x.shape[0]
        if len(self.offsets) != batch + 1:
            self.offsets = torch.arange(batch + 1)
        if self.weights is None:
            weights = sources.resolve(self.program, self.stream.sources, Direction(cell).weight)
            rows = parameter_rows(self.stream, weights, [])
        else:
            rows = self.rows
            for i, weight in zip(self.stream.sources, self.weights):
                rows[5 * i] = weight.data_ptr()
        given = [x.contiguous(), *(leaf.contiguous() for leaf in leaves)]
        new = [torch.empty(batch, width) for width in self.widths[1:]]
        states = []
        for before, after in zip(given[1:], new):
            states += [0, 0, before.data_ptr(), after.data_ptr(), 0, 0]
        call = [batch, batch, self.offsets.data_ptr(), given[0].data_ptr(), self.widths[0], batch, 0]
        _native.forward([*call, torch.get_num_threads()], [(self.native, False, rows, states, _NO_BUFFERS)])
        return new


_NO_BUFFERS = [0] * 8
_known: weakref.WeakKeyDictionary[nn.Module, Step] = weakref.WeakKeyDictionary()
