"""What decides a step's operations beside its tensors' numbers, and whether it is still the same.

Settings of a cell and its parts, attributes of their classes, and the globals and closed-over variables that the
step's own code reads (`program.watch` finds out which).
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unspool import _native
from unspool.program.fingerprint import ATOMS, FIXED, Describer, Unseen, may_read, of_classes, settings, slots
from unspool.program.owners import OWN, is_own_class, is_packages_cache, owner_of_file
from unspool.program.surroundings import PLAIN
from unspool.program.watch import Watch, own_classes

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

#: Hooks of all modules: `torch.nn.modules.module.register_module_forward_hook` and its like.
GLOBAL_HOOKS: list[dict[Any, Any]] = [
    vars(nn.modules.module)[f"_global_{kind}_hooks"]
    for kind in ("forward_pre", "forward", "backward_pre", "backward")
]
# How a module is called; a library's class may be patched as one's own.
_CALLED = ("forward", "__call__", "_call_impl", "_wrapped_call_impl")


@dataclass(frozen=True)
class Reads:
    """What a step reads. names: of attributes, any object's. globals: (dict, name); closures: (name, cell).

    sizes: whether it asks tensors for their shapes and types.
    """

    names: frozenset[str]
    globals: tuple[tuple[dict[str, Any], str], ...]
    closures: tuple[tuple[str, Any], ...]
    sizes: bool

    def may_read(self, name: str) -> bool:
        """Whether the step may read an attribute of this name."""
        return may_read(self.names, name)

    @classmethod
    def of(cls, *seen: Watch) -> Reads:
        places = {key: place for watch in seen for key, place in watch.globals.items()}
        closures = {id(cell): (name, cell) for watch in seen for name, cell in watch.closures}
        names = frozenset(name for watch in seen for name in watch.names)
        return cls(names, tuple(places.values()), tuple(closures.values()), any(w.sizes for w in seen))


def fingerprint(cell: nn.Module, reads: Reads | None) -> tuple[Any, Describer]:
    """(a key, what made it). Equal keys mean equal steps while the objects live that `held` names by identity.

    reads: None: not known; then all settings of the cell and its parts, and nothing else.
    Raises `Unseen` where the step reads something that may change without a way to see it.
    """
    describe = Describer(reads.names if reads else ())
    parts: list[Any] = [len(hooks) for hooks in GLOBAL_HOOKS]
    for _, name, value in _of_torch(cell, reads):
        describe.held.append(value)
        parts.append((name, id(value)))
    tensors: dict[int, int] = {}
    own = set(own_classes(cell))
    for path, module in cell.named_modules():
        kind = type(module)
        describe.held.append(kind)
        describe.local = describe.local or "<locals>" in kind.__qualname__
        describe.seen[id(module)] = len(describe.seen)
        parts += [path, id(kind), *(len(getattr(module, hooks)) for hooks in HOOKS)]
        for group in (module._parameters, module._buffers):
            for key, tensor in group.items():
                if tensor is not None:  # the number tells which weights are one and the same
                    number = tensors.setdefault(id(tensor), len(tensors))
                    parts.append((key, number, tensor.shape, tensor.dtype, tensor.device.type))
                    parts.append(describe.attributes_of(tensor))
        told = reads is not None and all(k in own or k in (nn.Module, object) for k in kind.__mro__)
        for key, value in (settings(module) or {}).items():
            if reads is None or not told or reads.may_read(key):
                parts.append((key, _described(describe, value, reads, f"'{path}.{key}'".replace("'.", "'"))))
    for where, value in _outside(cell, reads):
        parts.append((where, _described(describe, value, reads, where)))
    return tuple(parts), describe


def _of_torch(cell: nn.Module, reads: Reads | None) -> Iterator[tuple[type, str, Any]]:
    """(class, name, value) of what torch's own classes do in a step, which somebody may have replaced."""
    kinds = dict.fromkeys(kind for module in cell.modules() for kind in type(module).__mro__[:-1])
    of_modules = ((kind, name) for kind in kinds if not is_own_class(kind) for name in _CALLED)
    of_tensors = ((Tensor, name) for name in sorted(reads.names if reads else ()) if hasattr(Tensor, name))
    for kind, name in (*of_modules, *of_tensors):
        yield kind, name, vars(kind).get(name)


def _described(describe: Describer, value: Any, reads: Reads | None, where: str) -> Any:
    if isinstance(value, types.ModuleType) and reads is not None:
        if id(value) in describe.modules:
            return id(value)
        describe.modules.add(id(value))
        describe.held.append(value)
        found = [(n, vars(value)[n]) for n in sorted(reads.names & vars(value).keys())]
        place = f"'{value.__name__}.%s'"
        return id(value), tuple((n, _described(describe, v, reads, place % n)) for n, v in found)
    if _is_trusted(value):
        describe.held.append(value)
        return id(value)
    if isinstance(value, type) and reads is not None and not issubclass(value, (nn.Module, Tensor)):
        found = [(n, v) for k in _kinds(value) for n, v in list(vars(k).items()) if n in reads.names]
        return id(value), tuple((n, _described(describe, v, None, where)) for n, v in found)
    try:
        return describe(value)
    except Unseen as unseen:
        if reads is None:
            describe.held.append(value)
            return "unseen", id(value)
        raise Unseen(f"reads {where}, {unseen}, which may change unseen") from None


def _kinds(value: type) -> list[type]:
    """Where a class has its attributes from: its bases, and its own metaclasses."""
    return [*value.__mro__[:-1], *filter(is_own_class, inspect.getmro(type(value)))]


def _is_trusted(value: Any) -> bool:
    """Whether a value is a function of a library that is taken to be pure."""
    return isinstance(value, types.FunctionType) and owner_of_file(value.__code__.co_filename) != OWN


def _outside(cell: nn.Module, reads: Reads | None) -> Iterator[tuple[str, Any]]:
    """What is read that is not in the cell's own dicts, each with a name."""
    if reads is None:
        return
    for kind in own_classes(cell):
        for name, value in list(vars(kind).items()):
            if name in reads.names:
                yield f"'{kind.__name__}.{name}'", value
    for place, name in reads.globals:
        if name in place:
            yield f"the global '{name}'", place[name]
    for name, variable in reads.closures:
        yield f"the closed-over '{name}'", _value(variable)


def _value(variable: Any) -> Any:
    try:
        return variable.cell_contents
    except ValueError:
        return None


class Unchanged:
    """Call it to learn whether a cell, and what its step reads, are still as they were.

    Whatever is the same object for as long as it means the same is compared by identity, in compiled code: about a
    microsecond. Lists, sets and arrays are compared by value.
    """

    def __init__(self, cell: nn.Module, reads: Reads | None = None) -> None:
        self.dicts: list[dict[str, Any]] = []
        self.deep: list[Any] = []
        self.seen: set[int] = set()
        self.entries: list[tuple[Any, ...]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.functions: list[types.FunctionType] = []
        self.names = reads.names if reads else frozenset()
        self.sized: list[Tensor] | None = [] if reads and reads.sizes else None
        for module in cell.modules():
            own = module.__dict__
            self.dicts += [own, own["_parameters"], own["_buffers"], own["_modules"]]
            self.dicts += [getattr(module, hooks) for hooks in HOOKS]
            self.seen.add(id(module))
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                self._tensor(tensor)
        for module in cell.modules():
            for key, value in (settings(module) or {}).items():
                if reads is None or reads.may_read(key) or key not in module.__dict__:
                    self._watch(value, reads)
        self.dicts += GLOBAL_HOOKS
        for kind, name, value in _of_torch(cell, reads):
            place = gc.get_referents(vars(kind))[0]
            self.entries.append((place, name, value) if name in place else (place, name))
        if reads is not None:
            self.dicts += [gc.get_referents(vars(kind))[0] for kind in own_classes(cell)]
            for place, name in reads.globals:
                self.entries.append((place, name, place[name]) if name in place else (place, name))
            for _, value in _outside(cell, reads):
                self._watch(value, reads)
        self.cells += [(c, _value(c)) for _, c in (reads.closures if reads else ()) if _is_filled(c)]
        self.dicts = [
            own for own in self.dicts if isinstance(own, dict)
        ]  # those of torch.jit's modules are none
        held = _native.Snapshot(self.dicts, self.entries, self.cells, self.functions)
        self.same: Callable[[], bool] = held.holds
        self.sizes = self._sizes()
        self.values, self.held = self._values()

    def _watch(self, value: Any, reads: Reads | None) -> None:
        """See to it that a change inside `value` is seen."""
        if type(value) in (*ATOMS, float, complex) or id(value) in self.seen:
            return
        self.seen.add(id(value))
        if isinstance(value, type):
            if reads is not None and not value.__module__.startswith(("torch", "builtins")):
                for kind in _kinds(value):
                    self.dicts.append(gc.get_referents(vars(kind))[0])
                    for name in sorted(self.names & vars(kind).keys()):
                        self._watch(vars(kind)[name], reads)
        elif type(value) is tuple:
            for part in value:
                self._watch(part, reads)
        elif type(value) is dict:
            self.dicts.append(value)
            for part in () if value is sys.modules else value.values():
                self._watch(part, reads)
        elif isinstance(value, types.ModuleType):
            for name in sorted(self.names & vars(value).keys()):
                self.entries.append((vars(value), name, vars(value)[name]))
                self._watch(vars(value)[name], reads)
        elif isinstance(value, types.MethodType):
            self._watch((value.__self__, value.__func__), reads)
        elif isinstance(value, functools.partial):
            self._watch((value.func, value.args, value.keywords), reads)
        elif isinstance(value, types.FunctionType):
            if not _is_trusted(value):
                self.functions.append(value)
                self.cells += [(c, _value(c)) for c in value.__closure__ or () if _is_filled(c)]
                closed = tuple(map(_value, value.__closure__ or ()))
                self._watch((closed, value.__defaults__, value.__kwdefaults__, vars(value)), reads)
        elif isinstance(value, (staticmethod, classmethod)):
            self._watch(value.__func__, reads)
        elif isinstance(value, property):
            self._watch(value.fget, reads)
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif not isinstance(value, (nn.Module, *FIXED)) and not is_packages_cache(value):
            for kind, name, part in of_classes(value, self.names):
                self.entries.append((gc.get_referents(vars(kind))[0], name, part))
                self._watch(part, reads)
            own = getattr(value, "__dict__", None)
            hidden = (
                isinstance(value, functools._lru_cache_wrapper) or slots(value) or hasattr(value, "__len__")
            )
            if isinstance(own, dict) and not hidden:
                self.dicts.append(own)
                for part in own.values():
                    self._watch(part, reads)
            else:
                self.deep.append(value)

    def _tensor(self, tensor: Tensor | None) -> None:
        if tensor is not None and type(tensor) in PLAIN:
            self.dicts.append(tensor.__dict__)
            if self.sized is not None:
                self.sized.append(tensor)

    def _sizes(self) -> list[Any]:
        return [(tensor.shape, tensor.dtype) for tensor in self.sized or ()]

    def _values(self) -> tuple[list[Any], list[Any]]:
        """What the lists, sets and arrays hold, and what that names by identity."""
        describe = Describer(self.names)
        found: list[Any] = []
        for value in self.deep:
            try:
                found.append(describe(value))
            except Unseen:
                found.append(id(value))
        return found, describe.held

    def __call__(self) -> bool:
        if not self.same() or (self.sized and self._sizes() != self.sizes):
            return False
        if not self.deep:
            return True
        now, held = self._values()
        return now == self.values and held is not None  # what it names lives until it is compared


def _is_filled(variable: Any) -> bool:
    try:
        variable.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
