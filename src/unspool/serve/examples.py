"""Requests that a model can answer, made of what it was fitted on: for /docs and the description."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from unspool.serve.served import LENGTHS, Served
from unspool.serve.tensors import from_json


def inputs_of(served: Served) -> list[dict[str, Any]]:
    """The inputs of a request for two sequences, of different lengths where they are no texts."""
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
    parts = {part.name: part for part in served.model.columns_.parts} if others else {}
    for spec in others:
        part = parts[spec.name]
        value = float(f"{part.mean:.4g}") if spec.datatype == "FP64" else part.categories[0]
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
    source = served.model.input_
    if served.kind == "text":
        words = [word for word in source.encoder.words_ if word.isprintable()][:40]
        words = [word for word in words if word.isalnum()] or words
        joint = " " if source.encoder.level == "word" else ""
        return [joint.join(words[:3]), joint.join(words[3:8]) or joint.join(words[:1])]
    if served.kind == "ids":
        known = range(source.vocabulary_size) if source.known is None else source.known.tolist()
        ids = [int(i) for i in known[-5:]]
        return [ids[:2], ids]
    steps = [np.array(source.mean) + k * np.array(source.scale) for k in (0.0, 0.5, -0.5)]
    series = [[float(f"{v:.4g}") for v in step] for step in steps]
    return [series, series[:2]]


def quoted(body: str) -> str:
    """For a shell."""
    return shlex.quote(body)
