"""Errors that say what was wrong, what was expected, what came, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import functools
import numbers
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any, NoReturn


class UnspoolError(Exception):
    """Base class of every error that unspool raises on purpose."""


class DataError(UnspoolError, ValueError):
    """The data given cannot be used as they are."""


class InputError(DataError, RuntimeError):
    """An input or a state that a layer cannot take; torch.nn's layers raise ValueError or RuntimeError there."""


class ModelFileError(UnspoolError, ValueError):
    """A saved model is missing, damaged, truncated or not a model of ours."""


class EngineError(UnspoolError, RuntimeError):
    """The engine that was asked for cannot run this call."""


class SlowPathWarning(UserWarning):
    """A cell takes the plain loop, several times slower, since the native engine has no form for its step."""


class RowsWarning(UserWarning):
    """Of `count` of `total` rows, `what`: "3 of 20 texts hold no word"; those of several parts can be added up."""

    def __init__(self, count: int, total: int, what: str) -> None:
        super().__init__(f"{count} of {total} {what}")
        self.count, self.what = count, what


class InvalidParameterError(UnspoolError, ValueError):
    """A parameter has a value outside its range.

    parameter: its name, where the message begins with it; rest: what then follows, "must be ...".
    """

    parameter: str | None = None
    rest: str = ""


def described(value: Any) -> str:
    """What a value is, for a message: "a tuple of 2 (ndarray, NoneType)", "a Tensor of shape (3, 4)", "None"."""
    if value is None:
        return "None"
    if isinstance(value, (tuple, list)):
        parts = ", ".join(type(part).__name__ for part in value[:6]) + (", ..." if len(value) > 6 else "")
        return (
            f"a {type(value).__name__} of {len(value)} ({parts})"
            if value
            else f"an empty {type(value).__name__}"
        )
    shape = getattr(value, "shape", None)
    named = f"{'an' if type(value).__name__[0].lower() in 'aeiou' else 'a'} {type(value).__name__}"
    return f"{named} of shape {tuple(shape)}" if isinstance(shape, (tuple, list)) else named


def bad_parameter(owner: str, name: str, expected: str, got: Any, hint: str = "") -> NoReturn:
    """Raise `InvalidParameterError`: "The 'hidden_size' parameter of GRU must be an int in [1, inf). Got 0."."""
    tail = f" {hint}" if hint else ""
    rest = f"must be {expected}. Got {got!r}.{tail}"
    error = InvalidParameterError(f"The {name!r} parameter of {owner} {rest}")
    error.parameter, error.rest = name, rest
    raise error


def check_int(owner: str, name: str, value: Any, low: int = 1) -> int:
    """`value` if it is an int in [low, inf); otherwise `InvalidParameterError`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < low:
        bad_parameter(owner, name, f"an int in [{low}, inf)", value)
    return int(value)


def check_float(owner: str, name: str, value: Any, low: float, high: float, closed: str = "both") -> float:
    """`value` if it is a number between `low` and `high`; `closed` is "both", "left", "right" or "neither"."""
    brackets = ("[" if closed in ("both", "left") else "(", "]" if closed in ("both", "right") else ")")
    inside = (
        (isinstance(value, (int, float)) or _is_of_numpy(value))
        and not isinstance(value, bool)
        and not (isinstance(value, int) and abs(value) > sys.float_info.max)
        and (value >= low if brackets[0] == "[" else value > low)
        and (value <= high if brackets[1] == "]" else value < high)
    )
    if not inside:
        bad_parameter(owner, name, f"a number in {brackets[0]}{low:g}, {high:g}{brackets[1]}", value)
    return float(value)


def _is_of_numpy(value: Any) -> bool:
    """Whether it is a number of NumPy, of any width."""
    return hasattr(value, "dtype") and isinstance(value, numbers.Real)


def check_choice(owner: str, name: str, value: Any, choices: Iterable[Any]) -> Any:
    """`value` if it is one of `choices`; otherwise `InvalidParameterError` with the nearest choice."""
    choices = list(choices)
    if value not in choices:
        bad_parameter(owner, name, f"one of {choices}", value, did_you_mean(str(value), map(str, choices)))
    return value


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """ "Did you mean 'score'?" for the nearest of `choices`, whatever its case, or an empty string."""
    spelled = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f"Did you mean {spelled[near[0]]!r}?" if near else ""


_OURS = (os.path.dirname(__file__) + os.sep, contextlib.__file__)


@functools.cache
def torch_folder() -> str:
    """Where torch's own files lie."""
    import torch

    return os.path.dirname(torch.__file__) + os.sep


def warn_caller(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside this package and torch from which it was called."""
    passed = (*_OURS, torch_folder()) if "torch" in sys.modules else _OURS
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(passed):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def check_fitted(model: Any, attribute: str = "network_") -> None:
    """scikit-learn's `NotFittedError` unless `model` has what its `fit` sets."""
    if not hasattr(model, attribute):
        from sklearn.utils.validation import (
            check_is_fitted,  # a second, which what is fitted need not wait for
        )

        check_is_fitted(model, attribute)
