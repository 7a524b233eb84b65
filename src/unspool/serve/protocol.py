"""Requests and responses of the Open Inference Protocol v2, with Triton's binary data and sequence extensions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unspool.serve.errors import RequestError
from unspool.serve.tensors import DATATYPES, entry_of, from_bytes, from_json, parse_json, to_bytes, to_json

HEADER = "Inference-Header-Content-Length"
_OF_REQUEST = ("sequence_id", "sequence_start", "sequence_end", "binary_data_output")


@dataclass
class InferRequest:
    """inputs: name -> array. outputs: name -> whether in binary; empty: all of them, in binary if `binary`.

    sequence: an int or a str that names a stream, or None; start, end: of the stream. options: other parameters.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool] = field(default_factory=dict)
    id: str | None = None
    binary: bool = False
    sequence: int | str | None = None
    start: bool = False
    end: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def parse_infer(body: bytes, header: str | None, most: int, options: tuple[str, ...] = ()) -> InferRequest:
    """The request. header: the value of `HEADER`, bytes of JSON before the binary data; None: all of it is JSON.
    most: bytes of JSON that may be. options: parameters that the model knows.

    Raises `RequestError`, 400 for what is no request, 413 for too much JSON, 422 for one that cannot be used.
    """
    size = len(body) if header is None else _header(header, len(body))
    document = parse_json(body[:size], most)
    raw = _Binary(memoryview(body)[size:])
    if not isinstance(document, dict):
        raise RequestError(400, "The body must be a JSON object with 'inputs'.")
    _only(document, "The request", ("id", "parameters", "inputs", "outputs"))
    name = document.get("id")
    if name is not None and not isinstance(name, str):
        raise RequestError(400, "'id' must be a string.")
    parameters = _parameters(document, "The request", (*_OF_REQUEST, *options))
    request = InferRequest({}, id=name, binary=_flag(parameters, "binary_data_output"))
    request.options = {option: parameters[option] for option in options if option in parameters}
    for one in _entries(document, "inputs", needed=True):
        if one["name"] in request.inputs:
            raise RequestError(422, f"Input {one['name']!r} is given twice.")
        request.inputs[one["name"]] = _input(one, raw)
    if raw.left:
        raise RequestError(422, f"{raw.left} bytes of binary data belong to no input.")
    for one in _entries(document, "outputs", needed=False):
        _only(one, "An output", ("name", "parameters"))
        own = _parameters(one, f"Output {one['name']!r}", ("binary_data",))
        if one["name"] in request.outputs:
            raise RequestError(422, f"Output {one['name']!r} is asked for twice.")
        request.outputs[one["name"]] = _flag(own, "binary_data", request.binary)
    request.sequence = _sequence(parameters)
    request.start, request.end = _flag(parameters, "sequence_start"), _flag(parameters, "sequence_end")
    if request.sequence is None and (request.start or request.end):
        raise RequestError(422, "sequence_start and sequence_end need a sequence_id other than 0.")
    return request


def response_body(
    model: str, version: str, request: InferRequest, outputs: Mapping[str, np.ndarray]
) -> tuple[bytes, int | None]:
    """(the body, bytes of JSON before the binary data or None where there is none)."""
    parts: list[bytes] = []
    entries = []
    for name in request.outputs or outputs:
        if name not in outputs:
            raise RequestError(422, f"There is no output {name!r}. There is {', '.join(map(repr, outputs))}.")
        entry, array = entry_of(name, outputs[name]), outputs[name]
        if request.outputs.get(name, request.binary):
            parts.append(to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = to_json(array)
        entries.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    if request.sequence is not None:
        document["parameters"] = {"sequence_id": request.sequence}
    head = json.dumps({**document, "outputs": entries}, allow_nan=False).encode()
    return (head, None) if not parts else (b"".join([head, *parts]), len(head))


class _Binary:
    """The bytes behind the JSON, taken from the front."""

    def __init__(self, raw: memoryview) -> None:
        self.raw, self.place = raw, 0

    @property
    def left(self) -> int:
        return len(self.raw) - self.place

    def take(self, name: str, size: Any) -> memoryview:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= self.left:
            raise RequestError(
                422,
                f"'binary_data_size' of input {name!r} must be an int in [0, {self.left}]. Got {size!r:.40}.",
            )
        self.place += size
        return self.raw[self.place - size : self.place]


def _header(header: str, size: int) -> int:
    if not (header.isascii() and header.isdigit() and len(header) < 16 and int(header) <= size):
        raise RequestError(400, f"{HEADER} must be a number of bytes in [0, {size}]. Got {header!r:.40}.")
    return int(header)


def _entries(document: dict[str, Any], key: str, needed: bool) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if not isinstance(found, list) or (needed and not found) or not all(isinstance(e, dict) for e in found):
        raise RequestError(400, f"'{key}' must be a list of objects{', one at least' if needed else ''}.")
    for entry in found:
        if not isinstance(entry.get("name"), str):
            raise RequestError(400, f"Each of '{key}' must have a 'name', a string.")
    return found


def _input(entry: dict[str, Any], raw: _Binary) -> np.ndarray:
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    _only(entry, f"Input {name!r:.60}", ("name", "datatype", "shape", "data", "parameters"))
    if datatype not in DATATYPES:
        raise RequestError(
            400, f"The datatype of input {name!r} must be one of {DATATYPES}. Got {datatype!r:.40}."
        )
    if (
        not isinstance(shape, list)
        or not all(type(n) is int and 0 <= n < 2**40 for n in shape)
        or len(shape) > 8
    ):
        raise RequestError(400, f"The shape of input {name!r} must be a list of sizes. Got {shape!r:.60}.")
    own = _parameters(entry, f"Input {name!r}", ("binary_data_size",))
    if "binary_data_size" in own:
        if "data" in entry:
            raise RequestError(422, f"Input {name!r} has both 'data' and 'binary_data_size'.")
        return from_bytes(name, datatype, tuple(shape), raw.take(name, own["binary_data_size"]))
    return from_json(name, datatype, tuple(shape), entry.get("data"))


def _parameters(entry: dict[str, Any], what: str, known: tuple[str, ...]) -> dict[str, Any]:
    found = entry.get("parameters", {})
    if not isinstance(found, dict):
        raise RequestError(400, f"'parameters' must be an object. {what} has another.")
    for name in found:
        if name not in known:
            raise RequestError(422, f"{what} has a parameter {name!r:.60} that this server does not know.")
    return found


def _only(entry: dict[str, Any], what: str, known: tuple[str, ...]) -> None:
    for name in entry:
        if name not in known:
            raise RequestError(400, f"{what} has a field {name!r:.60}. It may have {', '.join(known)}.")


def _flag(parameters: dict[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if value not in (0, 1):
        raise RequestError(422, f"The parameter '{name}' must be true or false. Got {value!r:.40}.")
    return bool(value)


def _sequence(parameters: dict[str, Any]) -> int | str | None:
    value = parameters.get("sequence_id", 0)
    whole = type(value) is int and 0 <= value < 2**64
    if not whole and not (isinstance(value, str) and len(value) <= 256):
        raise RequestError(
            422,
            f"sequence_id must be an int in [0, 2^64) or a string of 256 characters at most. Got {value!r:.40}.",
        )
    return value or None
