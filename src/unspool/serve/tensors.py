"""Tensors of the Open Inference Protocol v2: JSON or raw bytes to numpy arrays and back.

Formats: kserve's "Open Inference Protocol, HTTP/REST", and the binary tensor data extension of Triton.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from unspool.serve.errors import RequestError

#: Datatype -> numpy's, little-endian; BYTES are arrays of str.
NUMBERS: dict[str, str] = {
    "BOOL": "?",
    **{f"UINT{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
    **{f"INT{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    **{f"FP{8 * n}": f"<f{n}" for n in (2, 4, 8)},
}
DATATYPES = (*NUMBERS, "BYTES")
_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}  # numpy's kinds that a kind of datatype takes from JSON


def parse_json(body: bytes, most: int) -> Any:
    """The document; `RequestError` 400 for bytes that are no JSON (as NaN and Infinity), 413 for more than `most`."""
    if len(body) > most:
        raise RequestError(
            413, f"A request may hold {most:,} bytes of JSON. Send binary data, or several requests."
        )
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError(400, "The body is JSON nested too deeply.") from None
    except ValueError as error:
        told = str(error).partition("; use sys.")[0]
        raise RequestError(400, f"The body must be JSON. {told}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; write null for a missing number.")


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> np.ndarray:
    """The array of this shape; data: a list, flat or nested. In floats null is a missing number (NaN)."""
    if not isinstance(data, list):
        raise RequestError(422, f"Input {name!r} needs 'data', a list. Got {_shown(data)}.")
    if datatype == "BYTES":
        array = np.array(_flat_texts(name, data), dtype=object)
    else:
        array = _numbers(name, datatype, data)
    if array.size != math.prod(shape):
        raise RequestError(
            422, f"Input {name!r} of shape {list(shape)} needs {math.prod(shape)} values. Got {array.size}."
        )
    return array.reshape(shape)


def _flat_texts(name: str, data: list[Any]) -> list[str]:
    texts: list[str] = []
    for value in data:
        if isinstance(value, list):
            texts += _flat_texts(name, value)
        elif isinstance(value, str):
            texts.append(_unicode(name, value))
        else:
            raise RequestError(422, f"Input {name!r} (BYTES) must hold strings. Got {_shown(value)}.")
    return texts


def _unicode(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(
            422, f"Input {name!r} holds a text that is not valid Unicode (a lone surrogate)."
        ) from None
    return text


def _numbers(name: str, datatype: str, data: list[Any]) -> np.ndarray:
    wanted = np.dtype(NUMBERS[datatype])
    try:
        array = np.array(data)
        if array.dtype == object and wanted.kind == "f":
            array = np.array([math.nan if v is None else _real(v) for v in array.ravel()])
    except (ValueError, TypeError, OverflowError):
        raise RequestError(
            422, f"Input {name!r} ({datatype}) must hold numbers, equally many in each list of a depth."
        ) from None
    if array.size == 0:
        return np.empty(0, wanted)
    if array.dtype.kind not in _KINDS[wanted.kind]:
        values = np.array(data, dtype=object).ravel().tolist()
        strange = (v for v in values if np.array(v).dtype.kind not in _KINDS[wanted.kind])
        raise RequestError(
            422, f"Input {name!r} must hold {datatype} values. Got {_shown(next(strange, values[0]))}."
        )
    with np.errstate(over="ignore"):
        found = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(found, array):
        raise RequestError(422, f"Input {name!r} holds a number outside the range of {datatype}.")
    return found


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview) -> np.ndarray:
    """The array of this shape out of its raw form; BYTES are elements of a length (4 bytes) and so many bytes."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return np.array(_byte_texts(name, count, raw), dtype=object).reshape(shape)
    wanted = np.dtype(NUMBERS[datatype])
    if len(raw) != count * wanted.itemsize:
        expected = f"{count * wanted.itemsize} bytes ({datatype}, shape {list(shape)})"
        raise RequestError(422, f"The binary data of input {name!r} must be {expected}. Got {len(raw)}.")
    return np.frombuffer(raw, wanted).reshape(shape)


def _byte_texts(name: str, count: int, raw: memoryview) -> list[str]:
    texts: list[str] = []
    place = 0
    while place < len(raw) and len(texts) < count:
        if place + 4 > len(raw):
            break
        (size,) = struct.unpack_from("<I", raw, place)
        if place + 4 + size > len(raw):
            break
        try:
            texts.append(bytes(raw[place + 4 : place + 4 + size]).decode())
        except UnicodeDecodeError:
            raise RequestError(
                422, f"Input {name!r} must hold UTF-8 texts. Element {len(texts)} is none."
            ) from None
        place += 4 + size
    if len(texts) != count or place != len(raw):
        raise RequestError(
            422,
            f"The binary data of input {name!r} must be {count} elements, each behind its length in 4 bytes.",
        )
    return texts


def datatype_of(array: np.ndarray) -> str:
    """The datatype of an array that is sent; texts are BYTES."""
    kind, size = array.dtype.kind, 8 * array.dtype.itemsize
    return {"b": "BOOL", "i": f"INT{size}", "u": f"UINT{size}", "f": f"FP{size}"}.get(kind, "BYTES")


def to_json(array: np.ndarray) -> list[Any]:
    """The values in a flat list; a number that is not finite as None."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if math.isfinite(value) else None for value in array.ravel().tolist()]
    return array.ravel().tolist()


def to_bytes(array: np.ndarray) -> bytes:
    """The raw form, little-endian."""
    datatype = datatype_of(array)
    if datatype != "BYTES":
        return np.ascontiguousarray(array, np.dtype(NUMBERS[datatype])).tobytes()
    texts = [str(value).encode() for value in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def entry_of(name: str, array: np.ndarray) -> dict[str, Any]:
    """Name, datatype and shape, as a response holds them."""
    return {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else f"{value!r:.40}"
