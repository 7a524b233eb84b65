"""Nested plain values and tensors as bytes, and back. No pickle: nothing in the bytes is run.

Layout: eight bytes, the length of a JSON document (little-endian); the document; its tensors as safetensors. In the
document a tuple is {"t": [...]}, a dict {"d": [[key, value], ...]}, a tensor {"x": number}, and a float that JSON does
not have {"f": "inf"}.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from unspool.errors import ModelFileError
from unspool.saved.document import finite

DEPTH = 100  # levels at most


def to_bytes(value: Any) -> bytes:
    """`value`: None, bool, int, float, str, tensors, and lists, tuples and dicts of them; NumPy's numbers too, as
    Python's. TypeError for anything else.

    A tensor that stands in several places is written once.
    """
    tensors: dict[str, Tensor] = {}
    places: dict[tuple[Any, ...], int] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, str)):
            return int(value) if isinstance(value, int) else str(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"f": str(float(value))}
        if isinstance(value, Tensor):
            return {"x": number(value.detach())}
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, tuple):
            return {"t": [plain(v) for v in value]}
        if isinstance(value, dict):
            return {"d": [[plain(k), plain(v)] for k, v in value.items()]}
        raise TypeError(
            f"Only plain values and tensors can be kept. Got {type(value).__name__}: {str(value)[:80]!r}."
        )

    def number(t: Tensor) -> int:
        place = (t.untyped_storage()._cdata, t.storage_offset(), t.dtype, t.shape, t.stride())
        if place not in places:
            places[place] = len(tensors)
            tensors[str(len(tensors))] = t.cpu().clone().contiguous()
        return places[place]

    document = json.dumps(plain(value), separators=(",", ":"), allow_nan=False).encode()
    return len(document).to_bytes(8, "little") + document + save_bytes(tensors)


def from_bytes(data: bytes | memoryview) -> Any:
    """What `to_bytes` was given; tensors are on the CPU, and share no memory with each other.

    Raises `ModelFileError` for any other bytes; no more memory is taken than they account for.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ModelFileError("it is cut short.")
    try:
        document = json.loads(bytes(data[8 : 8 + length]), parse_constant=_no_constant, parse_float=finite)
        tensors = load_bytes(bytes(data[8 + length :]))
    except (ValueError, RecursionError, SafetensorError, RuntimeError, KeyError, AttributeError) as error:
        raise ModelFileError(f"it is not readable ({error}).") from error

    def value(node: Any, depth: int = 0) -> Any:
        if depth > DEPTH:
            raise ModelFileError("it is nested too deeply.")
        if isinstance(node, list):
            return [value(n, depth + 1) for n in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((kind, inner),) = node.items()
            if kind == "x" and type(inner) is int and str(inner) in tensors:
                return tensors[str(inner)].clone()
            if kind == "f" and inner in ("inf", "-inf", "nan"):
                return float(inner)
            if kind == "t" and isinstance(inner, list):
                return tuple(value(n, depth + 1) for n in inner)
            if kind == "d" and isinstance(inner, list) and all(_is_pair(pair) for pair in inner):
                return {k: value(v, depth + 1) for k, v in inner}
        raise ModelFileError(f"it holds {str(node)[:60]!r}, which stands for nothing.")

    return value(document)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
