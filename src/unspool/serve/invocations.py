"""MLflow's scoring payloads: rows of a table or of values to what a model takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from unspool.serve.errors import RequestError
from unspool.serve.rows import Rows
from unspool.serve.served import Served, Spec
from unspool.serve.tensors import from_json, parse_json

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def rows_of(served: Served, body: bytes, kind: str, most: int) -> Rows:
    """The sequences or the table of a payload, with its "params". kind: the media type, JSON or text/csv. most: bytes.

    Raises `RequestError` 400 for another payload, 413 for too much, 415 for another type, 422 where it is not the
    model's.
    """
    if kind == "text/csv":
        if len(body) > most:
            raise RequestError(413, f"A request may hold {most:,} bytes of CSV. Send several.")
        return _rows(served, _csv_columns(body), {})
    if kind != "application/json":
        raise RequestError(415, f"The content must be application/json or text/csv. Got {kind!r:.80}.")
    document = parse_json(body, most)
    if not isinstance(document, dict):
        raise RequestError(400, f"The body must be a JSON object with one of {', '.join(_FORMS)}.")
    params = document.pop("params", None)
    if len(document) != 1 or next(iter(document)) not in _FORMS:
        got = ", ".join(map(repr, list(document)[:5])) or "nothing"
        raise RequestError(400, f"The body must hold one of {', '.join(_FORMS)}. Got {got:.200}.")
    ((form, data),) = document.items()
    return _rows(served, _columns(served, form, data), {} if params is None else params)


def _rows(served: Served, columns: Mapping[str, Any], params: Any) -> Rows:
    if not isinstance(params, Mapping):
        raise RequestError(422, f"'params' must be an object. Got {type(params).__name__}.")
    for name in params:
        if name not in served.options:
            known = (
                f"It knows {', '.join(served.options)}"
                if served.options
                else "It knows none: leave 'params' out"
            )
            raise RequestError(422, f"The model {served.name!r} knows no parameter {name!r:.60}. {known}.")
    options = served.checked(params)
    rows = served.rows(_of_columns(served, columns))
    rows.options = options
    return rows


def _columns(served: Served, form: str, data: Any) -> dict[str, Any]:
    """name -> values, of any form."""
    if form == "dataframe_split":
        return _split_columns(data)
    if isinstance(data, Mapping) and form == "inputs":
        return dict(data)
    if not isinstance(data, list):
        raise RequestError(400, f"{form!r} must be a list, one entry a row. Got {type(data).__name__}.")
    if form == "dataframe_records" or (data and isinstance(data[0], Mapping)):
        return _record_columns(form, data)
    if served.kind == "table":
        raise RequestError(
            422,
            f"{served.name!r} takes a table. Each entry of {form!r} must be an object, a row with its columns.",
        )
    return {served.input_name: data}


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
    named = dict(columns)
    wanted = served.columns()
    if len(wanted) == 1 and len(named) == 1:
        named = {wanted[0][0].name: next(iter(named.values()))}
    if set(named) != {spec.name for spec, _, _ in wanted}:
        names = ", ".join(repr(spec.name) for spec, _, _ in wanted)
        raise RequestError(422, f"The columns must be {names}. Got {', '.join(map(repr, named)):.300}.")
    for name, values in named.items():
        if not isinstance(values, list) or not values:
            raise RequestError(
                422, f"Column {name!r} must be a list with a value for each row, one row at least."
            )
    found: dict[str, np.ndarray] = {}
    for spec, kind, lengths in wanted:
        values = named[spec.name]
        if kind in ("", "table"):
            found[spec.name] = _column(spec, values)
        elif kind == "row":
            shape = (len(values), *spec.shape[1:])
            found[spec.name] = from_json(spec.name, spec.datatype, shape, values)
        else:
            found |= _sequences(spec, kind, lengths, values)
    return found


def _column(spec: Spec, values: list[Any]) -> np.ndarray:
    if spec.datatype != "BYTES":
        values = [_number(spec.name, v, int if spec.datatype == "INT64" else float) for v in values]
    return from_json(spec.name, spec.datatype, (len(values),), values)


def _number(name: str, value: Any, kind: Callable[[str], float]) -> Any:
    """A cell of a CSV table as a number of this kind; an empty one is missing."""
    if not isinstance(value, str):
        return value
    try:
        if "_" in value:  # Python's own spelling of numbers, no table's
            raise ValueError
        return kind(value) if value.strip() else None
    except ValueError:
        raise RequestError(422, f"Column {name!r} must hold numbers. Got {value!r:.40}.") from None


def _sequences(spec: Spec, kind: str, name: str, values: list[Any]) -> dict[str, np.ndarray]:
    """A text, or a list of tokens or of steps, a row; rows of any length. name: of the input of lengths."""
    if kind == "text":
        return {spec.name: from_json(spec.name, spec.datatype, (len(values),), values)}
    tail = spec.shape[2:]
    datatype = "FP64" if spec.datatype == "FP32" else spec.datatype
    what = "tokens" if kind == "tokens" else "steps"
    parts = []
    for row in values:
        if not isinstance(row, list):
            raise RequestError(422, f"Column {spec.name!r} must hold a list of {what} in each row.")
        flat = tail == (1,) and not any(isinstance(step, list) for step in row)
        if tail and not flat and not all(isinstance(step, list) and len(step) == tail[0] for step in row):
            raise RequestError(422, f"Each step of {spec.name!r} must be a list of {tail[0]} numbers.")
        parts.append(from_json(spec.name, datatype, (len(row), *tail), row))
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return {spec.name: np.concatenate(parts), name: lengths}
