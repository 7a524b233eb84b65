"""The native engine inside torch.compile and torch.export: a call is one operator (`engine.operators`).

torch.compile's graph also holds the numbers of the cells (`engine.numbers`): it does not see what a step reads, so a
call asks its cells whether they still are what was compiled, and runs what they are now. An exported graph holds
none: it is what the cells were.
"""

from __future__ import annotations

import hashlib
import json
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspool.engine import numbers, operators
from unspool.engine.numbers import CELLS
from unspool.engine.programs import Reason, program_for
from unspool.errors import EngineError
from unspool.program import sources
from unspool.program.ir import LOCK, Program
from unspool.program.text import to_text
from unspool.program.trace import Captured
from unspool.state import flatten, unflatten


def _disabled(function: Callable[..., Any]) -> Callable[..., Any]:
    why = "frozen layers and the plain loop run outside of compiled graphs: compile without fullgraph=True"
    try:
        return torch.compiler.disable(function, reason=why)
    except TypeError:  # of torch that takes no reason
        return torch.compiler.disable(function)


@_disabled
def outside(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` around which the compiler breaks its graph."""
    return function(*args)


@dataclass(frozen=True)
class Plan:
    """What a call's graph is made for: numbers of cells, features, widths of states, and tensors the cells hold."""

    numbers: tuple[int, ...]
    size: int
    shapes: tuple[Any, ...]
    held: tuple[tuple[str, ...], ...]


def plan(directions: Sequence[Any], values: Tensor, states: Sequence[Any]) -> Plan | None:
    """How a call on the CPU in float32 is compiled; None: it cannot be, and breaks the graph."""
    given: tuple[Any, ...] = tuple(getattr(d.cell, "_unspool_number", None) for d in directions)
    known = [side for d in directions for weight in d.all_weights() for side in weight.shape]
    known += [d.cell.input_size for d in directions if isinstance(getattr(d.cell, "input_size", None), int)]
    size = _static(values.shape[1], known)
    shapes = tuple(_static_widths(state, known) for state in states)
    if None in given or size is None or None in shapes:
        return None
    held = held_of(given, size, shapes)
    return None if held is None else Plan(given, size, shapes, held)


def _static(size: Any, known: Sequence[int]) -> int | None:
    """A size as the compiler's constant, where it is one of `known`: it may see it as any."""
    for one in known:
        if size == one:
            return one
    return size if isinstance(size, int) else None


def _static_widths(state: Any, known: Sequence[int]) -> Any:
    if isinstance(state, Tensor):
        return _static(state.shape[1], known)
    parts = tuple(_static_widths(part, known) for part in state)
    return None if None in parts else parts


@torch.compiler.assume_constant_result
def held_of(given: tuple[int, ...], size: int, shapes: tuple[Any, ...]) -> tuple[tuple[str, ...], ...] | None:
    """Where each cell has the tensors that its step reads beside weights; None where the plain loop has to run it."""
    paths = []
    for number, shape in zip(given, shapes):
        cell = CELLS[number]
        found = program_for(cell, size, shape)
        if isinstance(found, Reason):
            return None
        names = {
            id(value): f"{path}.{name}".lstrip(".")
            for path, module in cell.named_modules()
            for name, value in module.__dict__.items()
        }
        captured = [s.tensor for s in found.sources if isinstance(s, Captured)]
        if any(id(tensor) not in names for tensor in captured):
            return None
        paths.append(tuple(names[id(tensor)] for tensor in captured))
    return tuple(paths)


def run(
    plan: Plan,
    directions: Sequence[Any],
    values: Tensor,
    offsets: Tensor,
    states: Sequence[Any],
    index: Tensor | None,
) -> tuple[Tensor, list[Any]]:
    """As `engine.dispatch.run`, on the native engine, as one node of the compiler's graph."""
    reverses = [d.reverse for d in directions]
    counts, tensors = [], []
    for direction, state, held in zip(directions, states, plan.held):
        weights = direction.all_weights()
        parts = flatten(state)
        extra = [operator.attrgetter(path)(direction.cell) for path in held]
        counts.append((len(parts), len(weights), len(extra)))
        tensors += [*parts, *weights, *extra]
    given, shapes = list(plan.numbers), list(plan.shapes)
    output, *finals = _opaque(given, reverses, counts, plan.size, shapes, values, offsets, index, tensors)
    results, at = [], 0
    for state, (count, _, _) in zip(states, counts):
        results.append(unflatten(state, finals[at : at + count]))
        at += count
    return output, results


@torch.compiler.allow_in_graph
def _opaque(
    given: list[int],
    reverses: list[bool],
    counts: list[tuple[int, int, int]],
    size: int,
    shapes: list[Any],
    values: Tensor,
    offsets: Tensor,
    index: Tensor | None,
    tensors: list[Tensor],
) -> tuple[Tensor, ...]:
    programs, flat, at = [], [], 0
    for number, (parts, weights, extra), shape in zip(given, counts, shapes):
        cell = CELLS[number]
        names = [name for name, _ in [*cell.named_parameters(), *cell.named_buffers()]]
        state, at = tensors[at : at + parts], at + parts
        named, at = dict(zip(names, tensors[at : at + weights])), at + weights
        held, at = tensors[at : at + extra], at + extra
        program = program_for(cell, size, shape)
        assert not isinstance(program, Reason)
        programs.append(program)
        _remember(number, size, shape, program)
        flat += [*state, *sources.resolve(program, sources.used(program), named.__getitem__, iter(held))]
    live = "" if torch.compiler.is_exporting() else ",".join(map(str, given))
    output, finals = operators.run(programs, reverses, values, offsets, index, flat, live)
    return (output, *(part for parts in finals for part in parts))


# Of a cell's number and a program's text: the sizes that it is for, and its sources. The 256 used last are kept.
_compiled: OrderedDict[tuple[int, str], tuple[int, Any, list[Any]]] = OrderedDict()
# Calls that ran in the place of a compiled one, whose backward may come; by their hash. The 64 used last are kept.
_ran: OrderedDict[bytes, str] = OrderedDict()


def _keep(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    with LOCK:
        table[key] = value
        table.move_to_end(key)
        while len(table) > most:
            table.popitem(last=False)


def _remember(number: int, size: int, shape: Any, program: Program) -> None:
    _keep(_compiled, (number, to_text(program)), (size, shape, sources.described(program)), 256)


def as_now(call: str, live: str) -> str:
    """The text of a compiled call with the programs that its cells have now.

    Raises `EngineError` where these need other weights or other room than was compiled; the cell is then compiled
    anew at its next call.
    """
    head, *texts = call.split("\n")
    now = []
    for number, text in zip(map(int, live.split(",")), texts):
        cell, known = CELLS.get(number), _compiled.get((number, text))
        if cell is None or known is None:
            now.append(text)
            continue
        size, shape, was = known
        found = _clear_of_caller(program_for, cell, size, shape)
        if isinstance(found, Reason):
            numbers.register(cell)
            raise EngineError(
                f"{type(cell).__name__} has changed since it was compiled: {found}. Call it again."
            )
        now.append(to_text(found))
        if now[-1] != text and (sources.described(found) != was or not _alike(head, text, now[-1])):
            numbers.register(cell)
            raise EngineError(
                f"{type(cell).__name__} has changed since it was compiled, and its step now needs other weights or "
                "other memory. Call it again: it is then compiled anew."
            )
    return call if now == texts else "\n".join([head, *now])


def _alike(head: str, *texts: str) -> bool:
    """Whether what programs leave for their backward has one shape."""
    how = {**json.loads(head), "reverse": [False]}
    plans = [operators.call_of(f"{operators.head(**how)}\n{text}").plans[0] for text in texts]
    return len({(plan.widths["pstash"], plan.widths["lstash"]) for plan in plans}) == 1


def _clear_of_caller(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`; where it has to trace, in a thread without the dispatcher's state inside an operator."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append((function(*args), None))
        except BaseException as error:
            results.append((None, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    result, error = results[0]
    if error is not None:
        raise error
    return result


def mark(call: str, ran: str) -> Tensor:
    """(2,) int64 that tell a backward which call ran: zeros where it was the compiled one."""
    if call == ran:
        return torch.zeros(2, dtype=torch.int64, device="cpu")
    digest = hashlib.blake2b(ran.encode(), digest_size=16).digest()
    _keep(_ran, digest, ran, 64)
    return torch.frombuffer(bytearray(digest), dtype=torch.int64)


def marked(call: str, made: Tensor) -> str:
    """The call that a `mark` is of."""
    if not bool(made.any()):
        return call
    ran = _ran.get(made.numpy().tobytes())
    if ran is None:
        raise EngineError(
            "The backward of a call comes too late: more than 64 others of changed cells have run since."
        )
    return ran
