"""Containers as they were: what changed in them since, and all of it put back."""

from __future__ import annotations

import collections
import copy
import functools
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.program.fingerprint import ATOMS, FIXED, MOST, generator_state, slots
from unspool.program.owners import TRUSTED, is_own_class, module_of, of_world, own_kinds, owner_of_file
from unspool.program.surroundings import PLAIN

_QUIET = frozenset(["_unspool", "_unspool_number"])
_MISSING = object()


class Keep:
    """Call it on a value, and the name of the place where it is, to keep what it and its parts hold."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Callable[[], Any], Any, Callable[[Any], None]]] = []
        self.alive: list[Any] = []
        self.seen: set[int] = set()
        self.modules: list[types.ModuleType] = []
        self.classes: set[type] = set()
        # of names of iterators, which cannot be put back, and of what calls the world unseen: what it is
        self.streams: dict[str, str] = {}

    def changed(self) -> str | None:
        """Where something is no longer as it was."""
        for where, now, was, _ in self.kept:
            found = _difference(was, now())
            if found is not None:
                return f"{where}{found}"
        return None

    def restore(self) -> None:
        for _, now, was, put in self.kept:
            if _difference(was, now()) is not None:
                put(was)

    def entry(self, place: dict[str, Any], name: str, where: str) -> None:
        """The entry of a dict of others, such as a module's globals."""
        key = hash((id(place), name))
        if key in self.seen:
            return
        self.seen.add(key)
        value = place[name]
        self.kept.append(
            (where, lambda: place.get(name, _MISSING), value, lambda was: place.__setitem__(name, was))
        )
        self(value, where)

    def entries_of_modules(self, names: set[str]) -> None:
        """What the modules that were met hold under these names."""
        for module in self.modules:  # grows as it goes
            for name in names & vars(module).keys():
                self.entry(vars(module), name, f"'{module.__name__}.{name}'")

    def class_(self, kind: type) -> None:
        """The attributes of a class."""
        if kind in self.classes:
            return
        self.classes.add(kind)
        for name, value in list(vars(kind).items()):
            where = f"'{kind.__name__}.{name}'"
            if not name.startswith("__"):
                now = functools.partial(_attribute, kind, name)
                self.kept.append((where, now, value, functools.partial(setattr, kind, name)))
            self(value, where)
        names = set(vars(kind))

        def remove(_: Any) -> None:
            for name in set(vars(kind)) - names:
                delattr(kind, name)

        def news() -> list[str]:
            return sorted(name for name in set(vars(kind)) - names if not name.startswith("__"))

        self.kept.append((f"attributes of '{kind.__name__}'", news, [], remove))

    def __call__(self, value: Any, where: str) -> None:
        if type(value) in (*ATOMS, float, complex) or id(value) in self.seen or len(self.seen) > MOST:
            return
        self.seen.add(id(value))
        self.alive.append(value)
        if isinstance(value, types.ModuleType):
            self.modules.append(value)
        elif isinstance(value, type) and is_own_class(value):
            self.class_(value)
        if isinstance(value, FIXED):
            return
        if isinstance(value, Tensor):
            if type(value) in PLAIN:
                self._dict(value.__dict__, where, lambda key: f"{where}.{key}")
            return
        if isinstance(value, dict):
            self._dict(value, where, lambda key: f"{where}[{key!r}]")
        elif isinstance(value, (list, collections.deque, bytearray)):
            self._parts(value, where, list, functools.partial(_refill, value))
        elif isinstance(value, (set, frozenset, tuple)):
            if isinstance(value, set):
                self._parts(value, where, set, functools.partial(_refill, value))
            for part in value:
                self(part, where)
        elif isinstance(value, np.ndarray):
            if not value.dtype.hasobject and value.flags.writeable and value.nbytes <= 1 << 24:
                self.kept.append((where, value.tobytes, value.tobytes(), lambda was: _fill(value, was)))
        elif isinstance(value, types.FunctionType):
            if owner_of_file(value.__code__.co_filename) == TRUSTED:
                self._compiled(value, where)
                return
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
                self._cell(cell, name)
            self(value.__defaults__, f"a default of '{value.__qualname__}'")
            self(value.__kwdefaults__, f"a default of '{value.__qualname__}'")
            self(vars(value), f"'{value.__qualname__}'")
        elif isinstance(value, types.MethodType):
            self(value.__self__, where)
            self(value.__func__, where)
        elif isinstance(value, functools.partial):
            self._stream(value, where)
            self((value.func, value.args, value.keywords), where)
        else:
            self._object(value, where)

    def _dict(self, value: dict[Any, Any], where: str, name: Callable[[Any], str]) -> None:
        def put(was: dict[Any, Any]) -> None:
            for key in [key for key in value if key not in was]:
                del value[key]
            value.update(was)

        self.kept.append((where, lambda: dict(value), dict(value), put))
        for key, part in list(value.items()):
            if key not in _QUIET:
                self(part, name(key))

    def _parts(self, value: Any, where: str, copy: Callable[[Any], Any], put: Callable[[Any], Any]) -> None:
        self.kept.append((where, lambda: copy(value), copy(value), put))
        if isinstance(value, (list, collections.deque)):
            for at, part in enumerate(value):
                self(part, f"{where}[{at}]")

    def _cell(self, cell: Any, name: str) -> None:
        if id(cell) in self.seen:
            return
        self.seen.add(id(cell))

        def contents() -> Any:
            try:
                return cell.cell_contents
            except ValueError:
                return _MISSING

        def put(was: Any) -> None:
            if was is not _MISSING:
                cell.cell_contents = was

        where = f"the closed-over '{name}'"
        self.kept.append((where, contents, contents(), put))
        self(contents(), where)

    def _stream(self, value: functools.partial[Any], where: str) -> None:
        """A partial of a function in compiled code is called unseen."""
        called = of_world(module_of(value.func), getattr(value.func, "__name__", ""))
        if called and isinstance(value.func, types.BuiltinFunctionType):
            self.streams[_last_name(where)] = f"{where}, which calls {called}"

    def _compiled(self, function: types.FunctionType, where: str) -> None:
        """A function that torch.compile made runs unseen."""
        own = vars(function)
        if "_torchdynamo_orig_callable" in own and not own.get("_torchdynamo_disable"):
            self.streams[_last_name(where)] = f"{where}, which torch.compile compiled"

    def _object(self, value: Any, where: str) -> None:
        if isinstance(value, (torch.jit.ScriptFunction, torch.jit.ScriptModule)):
            self.streams[_last_name(where)] = f"{where}, which torch.jit runs unseen"
            return
        state = generator_state(value)
        if state is not None:
            put = _rewinder(value)
            self.kept.append((f"the generator in {where}", lambda: generator_state(value), state, put))
            return
        for kind in own_kinds(value):
            self.class_(kind)
        if hasattr(type(value), "__next__"):
            self.streams[_last_name(where)] = f"{where}, which gives each of its values once"
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            self._dict(own, where, lambda key: f"{where}.{key}")
        slotted = slots(value)
        if slotted:

            def put(was: dict[str, Any]) -> None:
                for name, part in was.items():
                    object.__setattr__(value, name, part)

            self.kept.append((where, lambda: slots(value), slotted, put))
            for name, part in slotted.items():
                self(part, f"{where}.{name}")


def _last_name(where: str) -> str:
    return where.rpartition(".")[2].strip("'").rpartition("'")[2]


def _attribute(kind: type, name: str) -> Any:
    return vars(kind).get(name, _MISSING)


def _refill(value: Any, was: Any) -> None:
    value.clear()
    (value.update if isinstance(value, set) else value.extend)(was)


def _set_state(generator: torch.Generator, bits: Tensor, _: Any) -> None:
    generator.set_state(bits)


def _rewinder(generator: Any) -> Callable[[Any], None]:
    """Puts a random generator back to where it is now."""
    if isinstance(generator, random.Random):
        python = generator.getstate()
        return lambda _: generator.setstate(python)
    if isinstance(generator, torch.Generator):
        bits = generator.get_state()
        return functools.partial(_set_state, generator, bits)
    bit = getattr(generator, "bit_generator", getattr(generator, "_bit_generator", generator))
    state = copy.deepcopy(bit.state)
    return lambda _: setattr(bit, "state", state)


def _fill(value: np.ndarray, was: bytes) -> None:
    value[...] = np.frombuffer(was, value.dtype).reshape(value.shape)


def _difference(was: Any, now: Any) -> str | None:
    """Where two shallow copies differ, as the end of a name; None: nowhere."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**was, **now}:
            if key not in _QUIET and not _same(was.get(key, _MISSING), now.get(key, _MISSING)):
                return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"
        return None
    if isinstance(was, list) and isinstance(now, list):
        return None if len(was) == len(now) and all(map(_same, was, now)) else ""
    return None if _same(was, now) else ""


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in (*ATOMS, float, complex):
        return a == b or (a != a and b != b)
    return isinstance(a, (set, frozenset)) and len(a) == len(b) and a == b
