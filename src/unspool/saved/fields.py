"""JSON values that come out of a file, taken by name and type, before anything is built from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from unspool.errors import ModelFileError, did_you_mean

T = TypeVar("T")


class Fields:
    """A JSON object whose fields are taken by name and type; anything unexpected is a `ModelFileError`."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ModelFileError(f"{where} must be a JSON object. Got {type(data).__name__}.")
        self.data, self.where = data, where

    def get(self, name: str, kind: type[T]) -> T:
        """The value of field `name`, of type `kind`; an int will do for a float, a bool not for an int."""
        if name not in self.data:
            raise ModelFileError(f"{self.where} has no field {name!r}.")
        value = self.data[name]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            self._bad(name, kind.__name__, value)
        return value

    def optional(self, name: str, kind: type[T]) -> T | None:
        """As `get`, and None for a null."""
        return None if name in self.data and self.data[name] is None else self.get(name, kind)

    def child(self, name: str) -> Fields:
        """The object in field `name`."""
        return Fields(self.get(name, dict), f"{self.where}, {name!r},")

    def items(self, name: str, kind: type[T], length: int | None = None) -> list[T]:
        """The list in field `name`, all of type `kind` (finite, if float), `length` long where given."""
        values = self.get(name, list)
        if length is not None and len(values) != length:
            self._bad(name, f"a list of {length}", f"a list of {len(values)}")
        values = [float(v) if kind is float and type(v) is int else v for v in values]
        for value in values:
            if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
                self._bad(name, f"a list of {kind.__name__}", value)
        return values

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """The string in field `name`, one of `choices`."""
        value, names = self.get(name, str), list(choices)
        if value not in names:
            self._bad(name, f"one of {names}", value, did_you_mean(value, names))
        return value

    def _bad(self, name: str, expected: str, got: Any, hint: str = "") -> NoReturn:
        shown = repr(got) if len(repr(got)) < 80 else f"{repr(got)[:77]}..."
        raise ModelFileError(f"{self.where} field {name!r} must be {expected}. Got {shown}. {hint}".rstrip())


def checked(owner: str, state: Any, **kinds: Any) -> dict[str, Any]:
    """A copy of `state` if it has the keys of `kinds` and values of those types; otherwise `ModelFileError`.

    A kind is a type or a tuple of types, `[type]` for a list of it, `{str: type}` for a dict to it; keys of a
    `{int: type}` are the digits of an int, as JSON has them.
    """
    if not isinstance(state, dict) or set(state) != set(kinds):
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ModelFileError(f"The saved {owner} must hold {sorted(kinds)}. Got {found}.")
    for name, kind in kinds.items():
        if not _fits(state[name], kind):
            raise ModelFileError(f"{name!r} of the saved {owner} has the wrong type. The file is damaged.")
    return dict(state)


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(item, kind[0]) for item in value)
    if isinstance(kind, dict):
        ((key, inner),) = kind.items()
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            return False
        digits = key is str or all(k.isdecimal() for k in value)
        return digits and all(_fits(item, inner) for item in value.values())
    if isinstance(value, bool):
        return kind is bool or (isinstance(kind, tuple) and bool in kind)
    return isinstance(value, kind)
