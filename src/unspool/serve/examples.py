"""Requests that a model can answer, made of what it was fitted on: for /docs and the description."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from unspool import examples
from unspool.serve import kinds
from unspool.serve.served import LENGTHS, Served
from unspool.serve.tensors import from_json


def inputs_of(served: Served) -> list[dict[str, Any]]:
    """The inputs of a request for two sequences, of different lengths where they are no texts."""
    own = served.example()
    if own is not None:
        return own
    first, *others = [spec for spec in served.inputs if spec.name != LENGTHS]
    sequences = sequences_of(served)
    if served.kind == "text":
        found = [{"name": first.name, "datatype": "BYTES", "shape": [2], "data": sequences}]
    else:
        steps = [step for sequence in sequences for step in sequence]
        shape = [len(steps), *first.shape[2:]]
        found = [
            {"name": first.name, "datatype": first.datatype, "shape": shape, "data": steps},
            {"name": LENGTHS, "datatype": "INT64", "shape": [2], "data": [len(s) for s in sequences]},
        ]
    values = examples.beside(served.model)
    for spec in others:
        value = values[spec.name]
        found.append({"name": spec.name, "datatype": spec.datatype, "shape": [2], "data": [value, value]})
    return found


def tensors_of(served: Served) -> dict[str, np.ndarray]:
    """The same as arrays."""
    return {
        one["name"]: from_json(one["name"], one["datatype"], tuple(one["shape"]), one["data"])
        for one in inputs_of(served)
    }


def sequences_of(served: Served) -> list[Any]:
    """Two sequences that the model knows something of: texts, ids, or steps as lists."""
    return kinds.sequences(served)


def payload_of(served: Served) -> dict[str, Any]:
    """The same as MLflow's `dataframe_split`, a row a sequence, or the rows of the table."""
    tensors = served.example_columns()
    if tensors is None:
        tensors = {one["name"]: one["data"] for one in inputs_of(served) if one["name"] != LENGTHS}
        if served.kind != "table":
            tensors[served.input_name] = sequences_of(served)
    rows = [list(row) for row in zip(*tensors.values())]
    return {"dataframe_split": {"columns": list(tensors), "data": rows}}


def quoted(body: str) -> str:
    """For a shell."""
    return shlex.quote(body)
