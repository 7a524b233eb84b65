"""`model.json`: written with a checksum, which is compared before anything else is read."""

from __future__ import annotations

import hashlib
import json
import math
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

import unspool
from unspool.errors import ModelFileError
from unspool.saved.fields import Fields

FORMAT = "unspool model"
FORMAT_VERSION = 1
_LIBRARIES = ("torch", "numpy", "scikit-learn", "tokenizers", "safetensors")


def encode(content: dict[str, Any], weights: bytes) -> bytes:
    """The bytes of `model.json` for `content` (JSON values only) beside these weights."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "libraries": _versions()}
    body = {**head, **content}
    sums = {"document": _checksum(body), "weights": hashlib.sha256(weights).hexdigest()}
    return json.dumps({**body, "checksums": sums}, indent=1, allow_nan=False, ensure_ascii=False).encode()


def decode(document: bytes) -> tuple[Fields, str]:
    """`model.json` -> (its fields, the SHA-256 that the weights must have)."""
    try:
        body = json.loads(document.decode(), parse_constant=_no_constant, parse_float=finite, parse_int=whole)
        if b"\\u" in document:
            # Half of a pair of UTF-16 is a character to Python, and could not be saved again.
            json.dumps(body, ensure_ascii=False).encode()
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


def finite(text: str) -> float:
    """A JSON number as a float; ValueError for one that is too large."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def whole(text: str) -> int:
    """A JSON number as an int; ValueError for one of more than 64 bits."""
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"the number {text[:20]} is too large")
    return int(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
