"""MLflow's scoring payloads: rows of a table or of values to tensors."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from unspool.serve.errors import RequestError
from unspool.serve.served import LENGTHS, Served
from unspool.serve.tensors import from_json, parse_json, to_json

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def tensors_of(served: Served, body: bytes, kind: str, most: int) -> dict[str, np.ndarray]:
    """name -> array, as `Served.rows` takes them. kind: the media type, JSON or text/csv. most: bytes of JSON.

    Raises `RequestError` 400 for another payload, 415 for another type, 422 where it is not the model's.
    """
    if kind == "text/csv":
        if len(body) > most:
            raise RequestError(413, f"A request may hold {most:,} bytes of CSV. Send several.")
        return _of_columns(served, _csv_columns(body))
    if kind != "application/json":
        raise RequestError(415, f"The content must be application/json or text/csv. Got {kind!r:.80}.")
    document = parse_json(body, most)
    if not isinstance(document, dict):
        raise RequestError(400, f"The body must be a JSON object with one of {', '.join(_FORMS)}.")
    if document.pop("params", None):
        raise RequestError(422, "'params' are not known here: leave them out.")
    if len(document) != 1 or next(iter(document)) not in _FORMS:
        got = ", ".join(map(repr, list(document)[:5])) or "nothing"
        raise RequestError(400, f"The body must hold one of {', '.join(_FORMS)}. Got {got:.200}.")
    ((form, data),) = document.items()
    if form == "dataframe_split":
        return _of_columns(served, _split_columns(data))
    if isinstance(data, Mapping) and form == "inputs":
        return _of_columns(served, dict(data))
    if not isinstance(data, list):
        raise RequestError(400, f"{form!r} must be a list, one entry a row. Got {type(data).__name__}.")
    if form == "dataframe_records" or (data and isinstance(data[0], Mapping)):
        return _of_columns(served, _record_columns(form, data))
    return _of_columns(served, {served.input_name: data})


def predictions(outputs: Mapping[str, np.ndarray]) -> list[Any]:
    """What `predict` gives, one entry a row."""
    first = next(iter(outputs.values()))
    return [row.tolist() for row in first] if first.ndim > 1 else to_json(first)


def _split_columns(data: Any) -> dict[str, list[Any]]:
    fits = (
        isinstance(data, Mapping)
        and isinstance(data.get("columns"), list)
        and isinstance(data.get("data"), list)
    )
    if not fits or not set(data) <= {"columns", "index", "data"}:
        raise RequestError(400, "'dataframe_split' must hold 'columns' and 'data', and may hold 'index'.")
    names, rows = data["columns"], data["data"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise RequestError(400, "The columns of 'dataframe_split' must be different strings.")
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise RequestError(400, f"Each row of 'dataframe_split' must hold {len(names)} values.")
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def _record_columns(form: str, data: list[Any]) -> dict[str, list[Any]]:
    if not all(isinstance(row, Mapping) and set(row) == set(data[0]) for row in data):
        raise RequestError(400, f"Each entry of {form!r} must be an object with the same fields.")
    return {name: [row[name] for row in data] for name in (data[0] if data else ())}


def _csv_columns(body: bytes) -> dict[str, list[Any]]:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, f"The body must be a CSV table in UTF-8. {error}") from None
    if not rows or not all(len(row) == len(rows[0]) for row in rows):
        raise RequestError(400, "The CSV table needs a header, and as many cells in each row.")
    return _split_columns({"columns": rows[0], "data": rows[1:]})


def _of_columns(served: Served, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns by name; a model of one column takes one of any name."""
    if served.kind in ("tokens", "table"):
        raise RequestError(
            422, f"{served.name!r} has no form for this path. Use /v2/models/{served.name}/infer."
        )
    named = dict(columns)
    wanted = [spec for spec in served.inputs if spec.name != LENGTHS]
    if len(wanted) == 1 and len(named) == 1:
        named = {wanted[0].name: next(iter(named.values()))}
    if set(named) != {spec.name for spec in wanted}:
        names = ", ".join(repr(spec.name) for spec in wanted)
        raise RequestError(422, f"The columns must be {names}. Got {', '.join(map(repr, named)):.300}.")
    for name, values in named.items():
        if not isinstance(values, list) or not values:
            raise RequestError(
                422, f"Column {name!r} must be a list with a value for each row, one row at least."
            )
    found: dict[str, np.ndarray] = {}
    for spec in wanted[1:]:
        values = named[spec.name]
        if spec.datatype == "FP64":
            values = [_number(spec.name, v) for v in values]
        found[spec.name] = from_json(spec.name, spec.datatype, (len(values),), values)
    return {**_sequences(served, named[served.input_name]), **found}


def _number(name: str, value: Any) -> Any:
    """A cell of a CSV table as a number; an empty one is missing."""
    if not isinstance(value, str):
        return value
    try:
        return float(value) if value.strip() else None
    except ValueError:
        raise RequestError(422, f"Column {name!r} must hold numbers. Got {value!r:.40}.") from None


def _sequences(served: Served, values: list[Any]) -> dict[str, np.ndarray]:
    """A text, or a list of steps, a row; rows of any length."""
    spec = served.inputs[0]
    if spec.datatype == "BYTES":
        return {spec.name: from_json(spec.name, spec.datatype, (len(values),), values)}
    tail = spec.shape[2:]
    datatype = "INT64" if spec.datatype == "INT64" else "FP64"
    parts = []
    for row in values:
        if not isinstance(row, list):
            raise RequestError(422, f"Column {spec.name!r} must hold a list of steps in each row.")
        flat = tail == (1,) and not any(isinstance(step, list) for step in row)
        if tail and not flat and not all(isinstance(step, list) and len(step) == tail[0] for step in row):
            raise RequestError(422, f"Each step of {spec.name!r} must be a list of {tail[0]} numbers.")
        parts.append(from_json(spec.name, datatype, (len(row), *tail), row))
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return {spec.name: np.concatenate(parts), LENGTHS: lengths}
