"""From a cell to its program: run one step on a small batch and write down every operation that torch carries out."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from unspool.program import (  # noqa: F401  (those that lower register theirs)
    custom,
    failures,
    integers,
    lowering_composed,
    lowering_functions,
    lowering_indices,
    lowering_linalg,
    lowering_products,
    lowering_rows,
    surroundings,
)
from unspool.program.facts import Facts
from unspool.program.ir import Program
from unspool.program.layout import Unsupported, Value
from unspool.program.origins import Captured as Captured
from unspool.program.origins import Computed as Computed
from unspool.program.origins import Parameter as Parameter
from unspool.program.origins import Ref as Ref
from unspool.program.simplify import simplify
from unspool.program.sizes import same_alone
from unspool.program.tracer import Tracer
from unspool.program.watch import Watch
from unspool.state import flatten, unflatten

TRIES = 3  # of a step, where another thread may have done what it seems to do


class Recorder(Tracer):
    """A tracer that keeps what went wrong, with the line of the step, even where the step catches it.

    What it does itself is not watched, which would take longer than all the rest; operations are: some are Python code.
    """

    failure: Exception | None = None

    def __init__(self, cell: nn.Module, batch: int, watch: Watch) -> None:
        super().__init__(cell, batch)
        self.watch = watch

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.watch.look()
        try:
            return func(*args, **kwargs)
        finally:
            self.watch.look_away()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.watch.look_away()
        try:
            self._refuse_frozen_number(func, args)
            return super().__torch_dispatch__(func, types, args, kwargs)
        except Unsupported as error:
            error.where = failures.line_of_step()
            error.args = (f"{error}{failures.inside()}",)
            self.failure = self.failure or error
            raise
        except Exception as error:
            if failures.of_kernel(error.__traceback__) or failures.of_surroundings(error):
                raise
            self.failure = self.failure or failures.broken(f"tracing '{func}'", error)
            raise self.failure from error
        finally:
            self.watch.look()

    def _refuse_frozen_number(self, func: Any, args: Any) -> None:
        """A number read from a tensor of the cell's would stay what it is now."""
        if func is torch.ops.aten._local_scalar_dense.default and id(args[0]) not in self.values:
            if id(args[0]) in self.checked:
                integers.checked_again(self, args[0])
            found = self.find(args[0])
            if not isinstance(found, int) or not self.is_created(found):
                raise Unsupported("a Python branch or number taken from a tensor of the cell")


def _step(cell: nn.Module, input_size: int, batch: int, like: Any, seen: list[Watch]) -> Program:
    first = flatten(like)[0]
    sizes = [leaf.shape[1] for leaf in flatten(like)]
    device = next((p.device for p in cell.parameters()), first.device)
    watches: list[Watch] = []
    asked = False  # what the step asks of tensors is known
    while True:
        x = torch.zeros(batch, input_size, dtype=first.dtype, device=device)
        parts = [torch.zeros(batch, width, dtype=first.dtype, device=device) for width in sizes]
        x, *parts = (part.requires_grad_().clone() for part in (x, *parts))  # torch writes into no leaf
        watches.append(Watch(cell))
        tracer, facts = Recorder(cell, batch, watches[-1]), Facts(watches[-1])
        tracer.add_input(x, tracer.graph.node("x", (), input_size))
        for k, part in enumerate(parts):
            tracer.add_input(part, tracer.graph.node("state", (), sizes[k], k))
        try:
            with watches[-1], contextlib.nullcontext() if asked else facts, tracer:
                new = flatten(cell(x, unflatten(like, parts)))
                tracer.given_back(new)
        except Exception as error:
            if failures.of_surroundings(error):
                raise
            if tracer.failure is None and not watches[-1].impure() and not facts.replaced:
                seen.append(watches[-1])
                raise
        if facts.replaced and not watches[-1].impure():
            asked = True
            continue
        if not watches[-1].by_others() or len(watches) == TRIES:
            break
    seen.append(watches[-1])
    watches[-1].sizes = any(watch.sizes for watch in watches)
    if watches[-1].impure():
        watches[0].restore()
    if tracer.failure is not None:
        raise tracer.failure
    watches[-1].check()
    with failures.ours(f"writing down a step of {type(cell).__name__}"):
        return _program(tracer, new, input_size, sizes)


def _program(tracer: Tracer, new: list[Tensor], input_size: int, sizes: list[int]) -> Program:
    _refuse_custom_gradients(new, tracer.followed)
    marks = [name for t in tracer.alive if id(t) in tracer.values for name in t.__dict__]
    if marks:
        raise Unsupported(f"an attribute put on a tensor of the step's ('{marks[0]}')")
    outputs = []
    for tensor in new:
        value = tracer.find(tensor)
        if not isinstance(value, Value):
            raise Unsupported("a new state that does not depend on the input or the state")
        if not value.plain or len(value.shape) != 2:
            raise Unsupported(f"a new state of shape {value} in place of (batch, features)")
        outputs.append(value.node)
    if [tracer.graph.width(o) for o in outputs] != sizes:
        raise Unsupported(
            f"a new state of widths {[tracer.graph.width(o) for o in outputs]} from one of widths {sizes}"
        )
    shapes = [tuple(tensor.shape) for tensor in tracer.source_tensors]
    return Program(tracer.graph, outputs, input_size, sizes, tracer.sources, shapes)


def _batches(cell: nn.Module, input_size: int, like: Any) -> list[int]:
    """Two sizes that no axis of features has: what has such a size is of the batch."""
    tensors = [*cell.parameters(), *cell.buffers()]
    sizes = {n for tensor in tensors for n in tensor.shape} | {
        input_size,
        *(s.shape[1] for s in flatten(like)),
    }
    primes = (n for n in itertools.count(2) if all(n % m for m in range(2, n)))
    return list(itertools.islice((p for p in primes if all(n % p for n in sizes if n)), 2))


def _refuse_custom_gradients(outputs: list[Tensor], followed: set[Any]) -> None:
    todo, seen = [t.grad_fn for t in outputs], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if custom.is_custom(node) and node not in followed:
            raise Unsupported(custom.name_of(node))
        seen.add(node)
        todo += [n for n, _ in node.next_functions]


def trace(cell: nn.Module, input_size: int, like: Any, seen: list[Watch] | None = None) -> Program:
    """The simplified program of `cell`. `like`: a state of the cell (any batch size). seen: takes what the step read.

    A cell that is a program already has `program_of_step(input_size)` among its own settings.
    Raises `Unsupported`, naming the operation, where the step cannot be written in the engine's operations,
    `EngineError` where the tracer itself fails, and what the step raises.
    """
    if "program_of_step" in cell.__dict__:
        return cell.__dict__["program_of_step"](input_size)
    for module in cell.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise Unsupported("a module of torch.jit, whose operations are not seen")
        if "_orig_mod" in module._modules:
            raise Unsupported(
                "a module that torch.compile compiled (give the cell itself, and compile the layer)"
            )
    with surroundings.own():
        watches = [] if seen is None else seen
        sizes = _batches(cell, input_size, like)
        programs = [_step(cell, input_size, batch, like, watches) for batch in sizes]
        if programs[0].graph.nodes != programs[1].graph.nodes or programs[0].outputs != programs[1].outputs:
            raise Unsupported("a step that depends on the batch size")
        if not same_alone(cell, input_size, like, sizes[0]):
            raise Unsupported("a step that does something else for a batch of one, or for a large one")
        with failures.ours(f"simplifying a step of {type(cell).__name__}"):
            return simplify(programs[0])
