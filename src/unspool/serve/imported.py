"""Served models of other libraries: their inputs and outputs by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.serve.errors import RequestError
from unspool.serve.rows import Rows
from unspool.serve.served import LENGTHS, Served, Spec, records
from unspool.serve.tensors import to_json


class Imported(Served):
    """Each input of an `ImportedModel` under its name: of texts BYTES [n]; of ids INT64 [n, T], of series FP32
    [n, T, F], or all steps behind each other with NAME_lengths INT64 [n]; of rows of numbers FP32 [n, F].

    Each output under its name, FP32 [n, units]; one a step is [N, units], with NAME_lengths. A request is computed by
    itself.
    """

    drawn, streamed = "", False

    def _check(self) -> None:
        self.kind, self.text_column = "inputs", None
        if self.model.stateful:
            raise DataError(
                f"The model {self.name!r} carries its state from one call to the next, of whoever calls. It cannot be "
                "served; call predict."
            )

    def _inputs(self) -> list[Spec]:
        found = []
        for given in self.model.inputs:
            if given.tokenizer is not None:
                found.append(Spec(given.name, "BYTES", (-1,)))
            elif given.kind == "row":
                found.append(Spec(given.name, "FP32", (-1, given.features)))
            elif _single(given):
                found.append(Spec(given.name, "INT64", (-1, 1)))
            else:
                ids = given.kind == "ids"
                shape = (-1, -1) if ids else (-1, -1, given.features)
                found.append(Spec(given.name, "INT64" if ids else "FP32", shape))
                found.append(Spec(f"{given.name}_{LENGTHS}", "INT64", (-1,), optional=True))
        return _distinct(self.name, found)

    def _outputs(self) -> list[Spec]:
        found = []
        for name, width, steps in zip(self.model.outputs, self.model.widths, self.model.per_step):
            found.append(Spec(name, "FP32", (-1, width)))
            found += [Spec(f"{name}_{LENGTHS}", "INT64", (-1,))] * steps
        return _distinct(self.name, found)

    def rows(self, tensors: Mapping[str, np.ndarray]) -> Rows:
        self._check_names(tensors)
        specs = {spec.name: spec for spec in self.inputs}
        columns = {one.name: self._values(one, specs, tensors) for one in self.model.inputs}
        counts = {name: len(values) for name, values in columns.items()}
        if len(set(counts.values())) > 1:
            raise RequestError(422, f"All inputs must have as many rows. Got {counts}.")
        count = next(iter(counts.values()))
        longest = [max(len(values[k]) for values in columns.values()) for k in range(count)]
        rows = Rows(lengths=np.array(longest, np.int64), columns=columns)
        self.check_size(rows)
        return rows

    def _values(self, given: Any, specs: Mapping[str, Spec], tensors: Mapping[str, np.ndarray]) -> list[Any]:
        """Of one input: a text, an array of steps or a row of numbers for each row."""
        spec, array = specs[given.name], tensors[given.name]
        if spec.datatype == "BYTES":
            return list(self._texts(spec, array).texts or ())
        if len(spec.shape) == 2 and spec.shape[1] > 0:
            self._check_type(spec, array)
            block = array[:, None] if array.ndim == 1 and spec.shape[1] == 1 else array
            if block.ndim != 2 or block.shape[1] != spec.shape[1]:
                raise RequestError(
                    422, f"Input {spec.name!r} must have shape [n, {spec.shape[1]}]. Got {list(array.shape)}."
                )
            return list(block.astype(np.int64 if given.kind == "ids" else np.float32))
        lengths = specs[f"{given.name}_{LENGTHS}"]
        found = self._numbers(spec, array, lengths, tensors.get(lengths.name))
        assert found.values is not None and found.lengths is not None
        return np.split(found.values, np.cumsum(found.lengths)[:-1])

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        return [self._one(part) for part in parts]

    def _one(self, part: Rows) -> dict[str, np.ndarray]:
        found = self.model.predict(part.columns)
        answer: dict[str, np.ndarray] = {}
        ends = found if isinstance(found, dict) else {self.model.outputs[0]: found}
        for (name, values), steps in zip(ends.items(), self.model.per_step):
            if steps:
                answer[f"{name}_{LENGTHS}"] = np.array([len(one) for one in values], np.int64)
            answer[name] = np.concatenate(values) if steps else values
        return {spec.name: answer[spec.name] for spec in self.outputs}

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> list[Any]:
        """A list of numbers for each row, or of one for each of its steps; records of these for several outputs."""
        found: dict[str, Any] = {}
        for name, steps in zip(self.model.outputs, self.model.per_step):
            if not steps:
                found[name] = outputs[name]
                continue
            parts = np.split(outputs[name], np.cumsum(outputs[f"{name}_{LENGTHS}"])[:-1])
            found[name] = np.empty(len(parts), object)
            found[name][:] = [[to_json(row) for row in part] for part in parts]
        return [next(iter(one.values())) if len(found) == 1 else one for one in records(found)]

    def columns(self) -> list[tuple[Spec, str, str]]:
        kinds = {one.name: "text" if one.tokenizer is not None else one.kind for one in self.model.inputs}
        kinds |= {one.name: "row" for one in self.model.inputs if _single(one)}
        return [(s, kinds[s.name], f"{s.name}_{LENGTHS}") for s in self.inputs if not s.optional]

    def example(self) -> list[dict[str, Any]]:
        """Two rows, of words that the tokenizer knows, and of small ids and numbers."""
        found = []
        for spec, values in zip([s for s in self.inputs if not s.optional], self.example_columns().values()):
            entry = {
                "name": spec.name,
                "datatype": spec.datatype,
                "shape": [2, *spec.shape[1:]],
                "data": values,
            }
            found.append(entry)
            if -1 in spec.shape[1:]:
                entry["data"] = [step for row in values for step in row]
                entry["shape"] = [len(entry["data"]), *spec.shape[2:]]
                lengths = {"name": f"{spec.name}_{LENGTHS}", "datatype": "INT64", "shape": [2]}
                found.append({**lengths, "data": [len(row) for row in values]})
        return found

    def example_columns(self) -> dict[str, list[Any]]:
        network = self.model.network_
        shortest = network.shortest()
        steps = (shortest, shortest) if network.flattens() else (shortest + 1, shortest)
        found: dict[str, list[Any]] = {}
        for number, one in enumerate(self.model.inputs):
            if one.tokenizer is not None:
                words = [word for word in one.tokenizer.word_index if word.isprintable()] or ["a"]
                found[one.name] = [" ".join((words * n)[:n]) for n in steps]
            elif one.kind == "row":
                found[one.name] = [[0.5] * (one.features or 0)] * 2
            elif one.kind == "ids":
                sizes = [
                    node.settings["vocabulary"]
                    for node in network.nodes
                    if node.kind == "embedding" and -1 - number in node.inputs and node.same_as is None
                ]
                value = min(1, *(size - 1 for size in sizes), 1)
                found[one.name] = [[value] * (1 if _single(one) else n) for n in steps]
            else:
                found[one.name] = [[[0.5] * (one.features or 0)] * n for n in steps]
        return found


def _single(given: Any) -> bool:
    """Whether it is an id of its own a row."""
    return given.kind == "ids" and given.tokenizer is None and given.padding.maxlen == 1


def _distinct(name: str, specs: list[Spec]) -> list[Spec]:
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise DataError(f"Two tensors of the model {name!r} would have one name: {', '.join(names)}.")
    return specs
