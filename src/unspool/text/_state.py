"""Checks on what comes out of a file, before anything is built from it."""

from __future__ import annotations

from typing import Any

from unspool.errors import ModelFileError


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
        return kind is bool
    return isinstance(value, kind)
