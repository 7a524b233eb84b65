"""Settings as values that can be compared: two equal fingerprints mean the same to a step that reads them."""

from __future__ import annotations

import collections
import functools
import inspect
import random
import sys
import types
import weakref
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.program.owners import HEAP, is_packages_cache, own_kinds
from unspool.program.surroundings import PLAIN

#: Values that never change: equal ones mean the same.
ATOMS = (
    *(int, bool, str, bytes, range, torch.dtype, torch.device, torch.Size),
    *map(type, (None, ..., NotImplemented)),
)
#: Values that stay what they are for as long as they are the same object.
FIXED = (
    type,
    types.BuiltinFunctionType,
    types.ModuleType,
    np.ufunc,
    torch._ops.OpOverload,
    torch._ops.OpOverloadPacket,
    *(torch.layout, torch.memory_format, torch.finfo, torch.iinfo, types.CodeType),
    *(types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType),
    *(types.MethodDescriptorType, types.ClassMethodDescriptorType, types.MethodWrapperType),
)
#: Values that classes of a user's own may be made of.
VALUES = (int, float, complex, str, bytes)
WORDS = 1 << 16  # bytes of an array that are compared
MOST = 20_000  # values in all containers together

# torch's own entries of a module's dict, which tell nothing of a step; ours.
OWN = frozenset(nn.Module().__dict__) - {"training"} | {"_unspool_number", "_unspool"}


# What code that has these names reads is not told by its names.
_BY_OTHER_MEANS = frozenset("getattr vars __dict__ eval exec locals globals attrgetter state_dict".split())


def may_read(names: Collection[str], name: str) -> bool:
    """Whether code that has these names may read an attribute of this one."""
    return name in names or not _BY_OTHER_MEANS.isdisjoint(names)


class Unseen(Exception):
    """A value that may change without a way to see it; the message says what it is."""


def slots(value: Any) -> dict[str, Any]:
    """The values of an object's `__slots__`."""
    kind = type(value)
    names = [name for base in kind.__mro__ for name in _names(base.__dict__.get("__slots__", ()))]
    # a class may put something else, that computes or stays, in the place of a slot that it has from another
    own = [n for n in names if isinstance(inspect.getattr_static(kind, n, None), types.MemberDescriptorType)]
    return {name: getattr(value, name) for name in own if hasattr(value, name)}


def _names(given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def settings(value: Any) -> dict[str, Any] | None:
    """An object's attributes, without those that torch gives a module; None: it has no place for any."""
    found = getattr(value, "__dict__", None)
    found = {k: v for k, v in found.items() if k not in OWN} if isinstance(found, dict) else None
    slotted = slots(value)
    return {**(found or {}), **slotted} if slotted or found is not None else None


def generator_state(value: Any) -> Any:
    """The state of a random generator, comparable; None: it is none."""
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, (np.random.Generator, np.random.BitGenerator, np.random.RandomState)):
        bits: Any = getattr(value, "bit_generator", getattr(value, "_bit_generator", value))
        return repr(bits.state)
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    return None


class Describer:
    """Call it on a value for its fingerprint. `held`: what fingerprints name by identity; keep it as long as them.

    local: whether something belongs to one cell alone, so that the fingerprint is no other's.
    names: of the attributes that are read; of objects' own classes these, and special methods, are described.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self.names = names
        self.held: list[Any] = []
        self.local = False
        self.seen: dict[int, int] = {}
        self.modules: set[int] = set()  # whose entries are described
        self.left = MOST

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return kind, value
        if kind is float or kind is complex:
            return kind, repr(value)
        if id(value) in self.seen:
            return "again", self.seen[id(value)]
        self.left -= 1
        if self.left < 0:
            raise Unseen(f"more than {MOST} values")
        self.seen[id(value)] = len(self.seen)
        self.held.append(value)  # also so that its id stays its own
        return kind, self._describe(kind, value)

    def _describe(self, kind: type, value: Any) -> Any:
        if isinstance(value, FIXED):
            # torch's namespaces answer to every name, with another one
            name = getattr(value, "__qualname__", "")
            self.local = self.local or (isinstance(name, str) and "<locals>" in name)
            return id(value)
        if isinstance(value, Tensor):
            self.local = True
            return id(value), tuple(value.shape), value.dtype, value.device.type, self.attributes_of(value)
        if isinstance(value, (list, tuple, collections.deque)):
            return tuple(map(self, list(value))), self._own(value)
        if value is sys.modules:  # some have put other things than modules in there
            return tuple((name, id(module)) for name, module in list(value.items()))
        if isinstance(value, dict):
            parts = list(value.items())  # to look at a namespace of torch's may add to it
            return tuple((self(k), self(v)) for k, v in parts), self._own(value)
        if isinstance(value, (set, frozenset)):
            return frozenset(map(self, value)), self._own(value)
        if isinstance(value, np.ndarray):
            if value.nbytes > WORDS or value.dtype.hasobject:
                raise Unseen(f"a numpy array of {value.nbytes} bytes")
            return value.dtype.str, value.shape, value.tobytes()
        if isinstance(value, (np.generic, bytearray, memoryview)):
            return bytes(value) if not isinstance(value, np.generic) else (value.dtype.str, value.tobytes())
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            self.local = True
            return self(value.__func__), self(value.__self__)
        if isinstance(value, functools.partial):
            return self(value.func), self(value.args), self(value.keywords)
        if isinstance(value, slice):
            return self((value.start, value.stop, value.step))
        if isinstance(value, types.MappingProxyType):
            return self(dict(value))
        if isinstance(value, (staticmethod, classmethod)):
            return self(value.__func__)
        if isinstance(value, property):
            return self(value.fget)
        if isinstance(value, weakref.ref):
            return self(value())
        return self._object(kind, value)

    def attributes_of(self, tensor: Tensor) -> Any:
        """What was put on a tensor and may be read."""
        own = tensor.__dict__ if type(tensor) in PLAIN else {}
        return tuple((name, self(part)) for name, part in own.items() if may_read(self.names, name)) or None

    def _own(self, value: Any) -> Any:
        """Attributes of a container of a class of its own."""
        return self._attributes(value) if type(value).__module__ != "builtins" else None

    def _function(self, value: types.FunctionType) -> Any:
        self.local = self.local or bool(value.__closure__) or "<locals>" in value.__qualname__
        self.held.append(value.__code__)
        closed = tuple(_contents(cell) for cell in value.__closure__ or ())
        return (
            id(value.__code__),
            self(value.__defaults__),
            self(value.__kwdefaults__),
            tuple(map(self, closed)),
            self(vars(value)) if vars(value) else None,
        )

    def _object(self, kind: type, value: Any) -> Any:
        state = generator_state(value)
        if state is not None:
            self.local = True
            return state
        if isinstance(value, VALUES):
            kept: Any = next(base for base in VALUES if isinstance(value, base))
            return kept.__repr__(value), self._own(value)
        if isinstance(value, nn.Module):
            self.local = True
            tensors = (*value._parameters.items(), *value._buffers.items(), *value._modules.items())
            return tuple((k, self(v)) for k, v in tensors), self._attributes(value)
        if hasattr(kind, "__next__"):
            raise Unseen(f"a {kind.__name__}")
        if is_packages_cache(value):
            return id(value)
        if isinstance(value, functools._lru_cache_wrapper):
            self.local = True
            return id(value), value.cache_info().misses, value.cache_info().currsize
        found = self._attributes(value)
        if found is not None:
            if _hides(kind):
                raise Unseen(f"a {kind.__module__}.{kind.__qualname__}")
            return found, tuple((name, self(part)) for _, name, part in of_classes(value, self.names))
        if kind.__hash__ not in (
            None,
            object.__hash__,
        ):  # compared by value: a path, a pattern, a decimal number
            return value
        if callable(value) or not _hides(kind):
            self.local = (
                True  # a class of Python's without attributes, such as a sentinel's, has nothing to change
            )
            return id(value)
        raise Unseen(f"a {kind.__module__}.{kind.__qualname__}")

    def _attributes(self, value: Any) -> Any:
        found = settings(value)
        return None if found is None else tuple((name, self(part)) for name, part in found.items())


def _hides(kind: type) -> bool:
    """Whether objects of a class may hold more than attributes and slots: a part of it is written in C."""
    if any(k not in (object, types.SimpleNamespace) and not k.__flags__ & HEAP for k in kind.__mro__):
        return True
    slotted = {n for k in kind.__mro__ for n in _names(k.__dict__.get("__slots__", ()))}
    room = tuple.__itemsize__ * (len(slotted) + 2)  # with an object's dict and its weak references
    return kind.__itemsize__ > 0 or kind.__basicsize__ > types.SimpleNamespace.__basicsize__ + room


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty yet
        return None


def of_classes(value: Any, names: Collection[str]) -> Iterator[tuple[type, str, Any]]:
    """(class, name, value) of what an object's own classes have under these names; special methods always."""
    for kind in own_kinds(value) if names else ():
        for name, part in list(vars(kind).items()):
            special = name.startswith("__") and isinstance(part, types.FunctionType)
            if special or (name in names and not isinstance(part, types.MemberDescriptorType)):
                yield kind, name, part
