"""A cell's program, traced once for each configuration, or the reason why it has none."""

from __future__ import annotations

import copy
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native
from unspool.errors import EngineError
from unspool.program import failures, surroundings
from unspool.program.fingerprint import Unseen
from unspool.program.ir import LOCK, Program
from unspool.program.lowering import Unsupported
from unspool.program.signature import GLOBAL_HOOKS, HOOKS, Reads, Unchanged, fingerprint
from unspool.program.watch import Impure, Watch
from unspool.state import flatten, of_widths, widths


class Reason(str):
    """Why a cell has no program; `where`: the file and line of its step that it is about."""

    where: tuple[str, int] | None = None


@dataclass
class Entry:
    """A program, or why there is none, and what it was traced from."""

    found: Program | Reason
    reads: Reads
    key: Any
    held: list[Any]  # keeps alive what the key names by identity


@dataclass
class _Current:
    """What a cell runs for as long as nothing changes that its step reads."""

    found: Program | Reason
    unchanged: Unchanged


class Memory:
    """What is known of a cell, in the cell's own dict, so that it goes with it; copies and pickles start anew."""

    MOST = 16  # sizes, and configurations, that are kept: the ones used last

    def __init__(self) -> None:
        self.owner: Callable[[], nn.Module | None] = lambda: None
        self.current: OrderedDict[Any, _Current] = OrderedDict()
        self.entries: OrderedDict[Any, Entry] = OrderedDict()
        self.parameters: tuple[Callable[[], bool], list[Tensor]] = (
            (lambda: False),
            [],
        )  # while the first is true
        self.step: Any = None  # `engine.step`

    def __reduce__(self) -> Any:
        return Memory, ()

    def __deepcopy__(self, _: Any) -> Memory:
        return Memory()

    @classmethod
    def of(cls, cell: nn.Module) -> Memory:
        found = cell.__dict__.get("_unspool")
        if found is None or found.owner() is not cell:  # a shallow copy shares its original's dict
            found = Memory()
            found.owner = weakref.ref(cell, found.forget)
            cell.__dict__["_unspool"] = found  # whole: other threads look there
        return found

    def forget(self, _: Any = None) -> None:
        """Let go of everything, the cell's own dict among it, which would else wait for Python's collector.

        Reads no name of the module: at the interpreter's end there are none.
        """
        self.current.clear()
        self.entries.clear()
        self.owner, self.step = (lambda: None), None
        self.parameters = (lambda: False), []


# Programs that cells of one configuration share, by the class and the sizes. The 64 used last are kept.
_shared: OrderedDict[Any, Entry] = OrderedDict()
_SHARED = 64


def _put(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)


def parameters_of(cell: nn.Module) -> list[Tensor]:
    """The parameters of a cell and its parts, in their order."""
    memory = Memory.of(cell)
    holds, found = memory.parameters
    if not holds():
        of_all = [d for m in cell.modules() for d in (m._parameters, m._modules)]
        dicts = [d for d in of_all if isinstance(d, dict)]  # those of torch.jit's modules are none
        holds, found = _native.Snapshot(dicts).holds, list(cell.parameters())
        memory.parameters = holds, found
    return found


def program_of(cell: nn.Module, input_size: int, state: Any) -> Program | Reason:
    """The program of a cell for inputs (B, input_size) and states like `state`, or the reason why it has none."""
    return program_for(cell, input_size, widths(state))


def program_for(cell: nn.Module, input_size: int, shape: Any) -> Program | Reason:
    """As `program_of`; `shape` is `unspool.state.widths` of a state."""
    return current(cell, (input_size, shape)).found


def current(cell: nn.Module, sizes: tuple[int, Any]) -> _Current:
    """What a cell runs now for these sizes."""
    memory = Memory.of(cell)
    made = memory.current.get(sizes)
    if made is None or not made.unchanged():
        with LOCK:
            entry = _unfollowed(_entry, cell, memory, sizes)
            made = _Current(entry.found, Unchanged(cell, entry.reads))
            _put(memory.current, sizes, made, Memory.MOST)
    return made


def _unfollowed(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, of which torch.compile, where it is on, compiles nothing."""
    disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
    return function(*args) if disable is None else disable(function)(*args)


def _entry(cell: nn.Module, memory: Memory, sizes: tuple[int, Any]) -> Entry:
    """The entry of the cell as it is: one of its own, one that it shares, or a new one."""
    general = (type(cell), sizes)
    for table in (memory.entries, _shared):
        for key, entry in reversed(table.items()):
            if key[0] == general and _fits(cell, entry):
                table.move_to_end(key)
                return entry
    reads, found = _trace(cell, *sizes)
    try:
        key, describe = fingerprint(cell, reads)
    except Unseen as unseen:
        if isinstance(found, Program):
            found = Reason(f"the step of {type(cell).__name__} {unseen}")
        key, describe = fingerprint(cell, None)
    entry = Entry(found, reads, key, describe.held)
    _put(memory.entries, (general, len(memory.entries), id(entry)), entry, Memory.MOST)
    if not describe.local and isinstance(found, Program) and not reads.closures:
        _put(_shared, (general, id(entry)), entry, _SHARED)
    return entry


def _fits(cell: nn.Module, entry: Entry) -> bool:
    try:
        return fingerprint(cell, entry.reads)[0] == entry.key
    except Unseen:
        return False


def _trace(cell: nn.Module, input_size: int, shape: Any) -> tuple[Reads, Program | Reason]:
    """What a step reads, and its program or the reason why it has none."""
    seen: list[Watch] = []
    found = _traced(cell, input_size, shape, seen)
    return Reads.of(*seen), found


def _traced(cell: nn.Module, input_size: int, shape: Any, seen: list[Watch]) -> Program | Reason:
    from unspool.program.trace import Captured, trace

    for module in cell.modules():
        if any(getattr(module, name) for name in HOOKS):
            return Reason(f"{type(module).__name__} has hooks, which run only in the plain loop")
    if any(GLOBAL_HOOKS):
        return Reason("torch has hooks for every module, which run only in the plain loop")
    with surroundings.own():
        state = of_widths(shape)
    parts = len(flatten(state))
    if parts > _native.MAX_STATES:
        return Reason(f"the state has {parts} parts; the native engine takes up to {_native.MAX_STATES}")
    name = type(cell).__name__
    try:
        stand_in, originals = _stand_in(cell)
        program = trace(stand_in, input_size, state, seen)
    except Impure as impure:
        reason = Reason(f"the step of {name} {impure}")
        reason.where = impure.where
        return reason
    except Unsupported as unsupported:
        reason = Reason(f"{name} uses {unsupported}, which the native engine does not have")
        reason.where = unsupported.where
        return reason
    except EngineError:
        raise
    except Exception as error:  # the step may work for the call's own batch: the plain loop shows
        if failures.of_surroundings(error):
            raise
        return Reason(f"one step of {name} on zeros failed: {type(error).__name__}: {error}")
    for at, source in enumerate(program.sources):
        if isinstance(source, Captured):
            if not _usual(source.tensor):
                return Reason(f"{name} holds a tensor that is not a plain one on the CPU")
            program.sources[at] = Captured(originals.get(id(source.tensor), source.tensor))
    return program


def _usual(tensor: Tensor) -> bool:
    return type(tensor) in surroundings.PLAIN and tensor.is_cpu and not tensor.is_inference()


def _stand_in(cell: nn.Module) -> tuple[nn.Module, dict[int, Tensor]]:
    """The cell, or a copy with plain tensors where its own are not (no data, fake, ...); and whose they are."""
    own = [
        value for module in cell.modules() for value in module.__dict__.values() if isinstance(value, Tensor)
    ]
    unusual = [t for t in (*cell.parameters(), *cell.buffers(), *own) if not _usual(t)]
    if not unusual:
        return cell, {}
    memo: dict[int, Any] = {}
    with surroundings.own():
        for tensor in unusual:
            plain = torch.zeros(tuple(map(int, tensor.shape)), dtype=tensor.dtype)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(plain, tensor.requires_grad) if is_parameter else plain
        originals = {id(memo[id(tensor)]): tensor for tensor in unusual}
        kept = [t for t in (*cell.parameters(), *cell.buffers(), *own) if id(t) not in memo]
        memo.update((id(tensor), tensor) for tensor in kept)
        try:
            return copy.deepcopy(cell, memo), originals
        except Exception as error:
            if failures.of_surroundings(error):
                raise
            raise Unsupported(f"weights without data, and no copy can be made ({error})") from error
