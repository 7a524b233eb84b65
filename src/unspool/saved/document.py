"""`model.json`: written with a checksum, read field by field with its type checked."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn, TypeVar

import unspool
from unspool.errors import ModelFileError, did_you_mean

FORMAT = "unspool model"
FORMAT_VERSION = 1
_LIBRARIES = ("torch", "numpy", "scikit-learn", "tokenizers", "safetensors")

T = TypeVar("T")


def encode(content: dict[str, Any], weights: bytes) -> bytes:
    """The bytes of `model.json` for `content` (JSON values only) beside these weights."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "libraries": _versions()}
    body = {**head, **content}
    sums = {"document": _checksum(body), "weights": hashlib.sha256(weights).hexdigest()}
    return json.dumps({**body, "checksums": sums}, indent=1, allow_nan=False, ensure_ascii=False).encode()


def decode(document: bytes) -> tuple[Fields, str]:
    """`model.json` -> (its fields, the SHA-256 that the weights must have)."""
    try:
        body = json.loads(document.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"model.json is not readable JSON ({error}).") from error
    if not isinstance(body, dict):
        raise ModelFileError(f"model.json must hold a JSON object. Got {type(body).__name__}.")
    fields = Fields(body, "model.json")
    if fields.get("format", str) != FORMAT:
        raise ModelFileError(f"'format' must be {FORMAT!r}. Got {body['format']!r}.")
    found = fields.get("format_version", int)
    if found != FORMAT_VERSION:
        raise ModelFileError(
            f"it has format version {found}, and this unspool {unspool.__version__} reads version "
            f"{FORMAT_VERSION}. Install the version of unspool that wrote it."
        )
    sums = fields.child("checksums")
    content = {key: value for key, value in body.items() if key != "checksums"}
    if _checksum(content) != sums.get("document", str):
        raise ModelFileError("model.json is damaged or was edited: its checksum does not match.")
    return fields, sums.get("weights", str)


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


def _versions() -> dict[str, str]:
    found = {"unspool": unspool.__version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
