"""A model that is served: its tensors in and out, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits
from unspool.serve.rows import Rows, join
from unspool.serve.tensors import datatype_of, to_json

LENGTHS = "lengths"
_NAMES = {"text": ("text", "BYTES"), "ids": ("ids", "INT64"), "series": ("series", "FP32")}
_TAKEN = {
    "BYTES": ("BYTES",),
    "INT64": ("INT64", "INT32", "INT16", "INT8", "UINT8", "UINT16", "UINT32"),
    "FP32": ("FP32", "FP64", "FP16"),
    "FP64": ("FP64", "FP32", "FP16", "INT64", "INT32"),
}


@dataclass(frozen=True)
class Spec:
    """A tensor of a model: name, datatype, shape with -1 where it is free, and whether it may be left out."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As the metadata of a model hold it."""
        found: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        return {**found, "parameters": {"optional": True}} if self.optional else found


class Served:
    """One loaded `SequenceRegressor` or `SequenceClassifier` under a name; `unspool.serve.kinds` has the others.

    inputs, outputs: the tensors. options: parameters that a request may have. drawn: what the path "activity" shows
    of a sequence, "gates" or "attention", or "" where nothing is. streamed: whether there are streams of its kind.
    Raises `DataError` for a model of another kind.
    """

    kind: str
    text_column: str | None
    options: tuple[str, ...] = ()
    drawn: str = "gates"
    streamed = True

    def __init__(self, name: str, model: Any, limits: Limits) -> None:
        self.name, self.model, self.limits = name, model, limits
        self._check()
        self.inputs, self.outputs = self._inputs(), self._outputs()

    # --- what it is

    def _check(self) -> None:
        """Set `kind` and `text_column`; `DataError` for a model that this class has no form for."""
        model, name = self.model, self.name
        self.kind = getattr(getattr(model, "input_", None), "kind", "")
        if type(model).__name__ not in ("SequenceRegressor", "SequenceClassifier") or self.kind not in _NAMES:
            got = type(model).__name__ + (f" of {self.kind}" if self.kind else "")
            raise DataError(
                "unspool serve takes models of SequenceRegressor and SequenceClassifier that read texts, ids or "
                "series, SequenceTagger, Seq2Seq, SequenceGenerator, Forecaster and imported models. "
                f"Got a {got} for {name!r}."
            )
        self.text_column = model.text_column

    def _inputs(self) -> list[Spec]:
        own, datatype = _NAMES[self.kind]
        name = self.text_column or own
        if self.kind == "text":
            specs = [Spec(name, datatype, (-1,))]
        else:
            shape = (-1, -1) if self.kind == "ids" else (-1, -1, self.model.input_.n_given)
            specs = [Spec(name, datatype, shape), Spec(LENGTHS, "INT64", (-1,), optional=True)]
        specs += [Spec(column, "FP64", (-1,)) for column in self.model.numeric]
        specs += [Spec(column, "BYTES", (-1,)) for column in self.model.categorical]
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise DataError(
                f"A column of the model {self.name!r} has the name of an input: {', '.join(names)}."
            )
        return specs

    def _outputs(self) -> list[Spec]:
        found = self.answers(np.zeros((1, self.model.task_.output_size)))
        return [Spec(name, datatype_of(a), (-1, *a.shape[1:])) for name, a in found.items()]

    @property
    def input_name(self) -> str:
        """Of the sequences."""
        return self.inputs[0].name

    def taken(self, spec: Spec) -> tuple[str, ...]:
        """The datatypes that an input may have."""
        return _TAKEN[spec.datatype]

    # --- tensors to rows

    def rows(self, tensors: Mapping[str, np.ndarray]) -> Rows:
        """The sequences of a request; `RequestError` 422 where the tensors are not the model's, 413 for too many."""
        self._check_names(tensors)
        main = tensors[self.input_name]
        if self.kind == "text":
            rows = self._texts(self.inputs[0], main)
        else:
            rows = self._numbers(self.inputs[0], main, self.inputs[1], tensors.get(LENGTHS))
        rows.columns = {s.name: self._column(s, tensors[s.name], rows.count) for s in self._beside()}
        self.check_size(rows)
        return rows

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a request, of `options`, as `Rows.options` has them; raises as `rows`."""
        return dict(given)

    def outputs_of(self, options: Mapping[str, Any]) -> list[Spec]:
        """The outputs of a request with these `checked` parameters."""
        return self.outputs

    def example(self) -> list[dict[str, Any]] | None:
        """The inputs of a request, where they are not made of sequences."""
        return None

    def example_columns(self) -> dict[str, list[Any]] | None:
        """Its values by row, where they are not made of sequences."""
        return None

    def columns(self) -> list[tuple[Spec, str, str]]:
        """The inputs that a column of a table holds, but for lengths: (input, its kind, the input of its lengths). The
        kinds: "text", "tokens", "ids" and "series", sequences; "row", a list of numbers; "" a value."""
        kinds = {self.input_name: self.kind}
        return [(s, kinds.get(s.name, ""), LENGTHS) for s in self.inputs if s.name != LENGTHS]

    def _check_names(self, tensors: Mapping[str, np.ndarray]) -> None:
        known = {spec.name: spec for spec in self.inputs}
        for name in tensors:
            if name not in known:
                names = ", ".join(map(repr, known))
                raise RequestError(422, f"The model {self.name!r} has no input {name!r:.60}. It has {names}.")
        for spec in self.inputs:
            if spec.name not in tensors and not spec.optional:
                raise RequestError(
                    422, f"The model {self.name!r} needs the input {spec.name!r} ({spec.datatype})."
                )

    def _beside(self) -> list[Spec]:
        return [spec for spec in self.inputs[1:] if spec.name != LENGTHS]

    def _texts(self, spec: Spec, array: np.ndarray) -> Rows:
        self._check_type(spec, array)
        if array.ndim == 2 and array.shape[1] == 1:  # Triton's batch axis before one text
            array = array[:, 0]
        if array.ndim != 1:
            raise RequestError(422, f"Input {spec.name!r} must have shape [n]. Got {list(array.shape)}.")
        return Rows(texts=array.tolist())

    def _numbers(self, spec: Spec, array: np.ndarray, beside: Spec, lengths: np.ndarray | None) -> Rows:
        """(n, T, ...) with lengths or without; (T, ...) one sequence, or with lengths all steps behind each other.

        spec, beside: of the array, and of its lengths.
        """
        self._check_type(spec, array)
        tail = spec.shape[2:]
        padded = array.ndim == 2 + len(tail)
        if (not padded and array.ndim != 1 + len(tail)) or array.shape[array.ndim - len(tail) :] != tail:
            forms = f"[n, T{''.join(f', {n}' for n in tail)}] or [T{''.join(f', {n}' for n in tail)}]"
            raise RequestError(422, f"Input {spec.name!r} must have shape {forms}. Got {list(array.shape)}.")
        kinds: dict[str, Any] = {"INT64": np.int64, "BYTES": object}
        values = array.astype(kinds.get(spec.datatype, np.float64))
        if lengths is None:
            count = len(array) if padded else 1
            steps = array.shape[1] if padded else len(array)
            return Rows(None, values.reshape(count * steps, *tail), np.full(count, steps, np.int64))
        steps = array.shape[1] if padded else len(array)
        self._check_lengths(spec, beside, lengths, len(array) if padded else None, steps)
        if padded:
            values = values[np.arange(steps) < lengths[:, None]]
        return Rows(None, values, lengths.astype(np.int64))

    def _check_lengths(
        self, spec: Spec, beside: Spec, lengths: np.ndarray, count: int | None, steps: int
    ) -> None:
        self._check_type(beside, lengths)
        if lengths.ndim != 1 or (lengths.size and int(lengths.min()) < 0):
            raise RequestError(422, f"Input {beside.name!r} must have shape [n], each 0 or more.")
        if count is not None and (len(lengths) != count or (count and int(lengths.max()) > steps)):
            raise RequestError(
                422,
                f"Input {beside.name!r} must hold {count} lengths of {steps} at most, as {spec.name!r} has.",
            )
        if count is None and sum(lengths.tolist()) != steps:
            raise RequestError(
                422,
                f"The lengths must add up to the {steps} steps of {spec.name!r}. Got {sum(lengths.tolist())}.",
            )

    def _column(self, spec: Spec, array: np.ndarray, count: int) -> list[Any]:
        self._check_type(spec, array)
        if array.size != count:
            raise RequestError(
                422, f"Input {spec.name!r} must have a value for each of {count} rows. Got {array.size}."
            )
        return array.ravel().tolist()

    def _check_type(self, spec: Spec, array: np.ndarray) -> None:
        taken, got = self.taken(spec), datatype_of(array)
        if got not in taken:
            raise RequestError(422, f"Input {spec.name!r} must be {' or '.join(taken)}. Got {got}.")

    def check_size(self, rows: Rows) -> None:
        """`RequestError` 413 for more rows or steps than the limits, 422 for no row."""
        if rows.count == 0:
            raise RequestError(422, "The request holds no sequence. Give one at least.")
        if rows.count > self.limits.rows:
            raise RequestError(
                413,
                f"A request may hold {self.limits.rows:,} sequences. Got {rows.count:,}. Send several requests.",
            )
        longest = int(rows.lengths.max()) if rows.lengths is not None else max(map(len, rows.texts or [""]))
        if longest > self.limits.steps:
            what = "characters" if self.kind == "text" else "steps"
            raise RequestError(413, f"A sequence may have {self.limits.steps:,} {what}. Got {longest:,}.")

    def step_rows(self, tensors: Mapping[str, np.ndarray]) -> Rows:
        """One sequence, the next steps of a stream; raises as `rows`."""
        rows = self.rows(tensors)
        if rows.count != 1:
            raise RequestError(422, f"A stream takes one sequence at a time. Got {rows.count}.")
        return rows

    # --- rows to answers

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        """The outputs of each part, all computed together. Raises `DataError` where a part cannot be used."""
        outputs = self.model._outputs(join(parts).given(self.text_column), warn=False)
        found = self.answers(outputs)
        ends = np.cumsum([part.count for part in parts]).tolist()
        starts = [0, *ends[:-1]]
        return [{name: a[start:end] for name, a in found.items()} for start, end in zip(starts, ends)]

    def answers(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """name -> (B, ...) for the network's (B, output size): a prediction, or label and probabilities."""
        task = self.model.task_
        if not hasattr(task, "probabilities"):
            return {"prediction": np.asarray(task.decode(outputs), dtype=np.float64)}
        labels = np.asarray(task.decode(outputs))
        shares = np.asarray(task.probabilities(outputs), dtype=np.float64)
        return {"labels" if labels.ndim == 2 else "label": labels, "probabilities": shares}

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> list[Any]:
        """The same as MLflow's "predictions": what `predict` gives, one entry a row; records where that is several."""
        first = next(iter(outputs.values()))
        return [to_json(row) for row in first] if first.ndim > 1 else to_json(first)

    @property
    def classes(self) -> list[Any] | None:
        """Of a classifier, in the order of its probabilities."""
        return np.asarray(self.model.classes_).tolist() if hasattr(self.model, "classes_") else None

    def metadata(self, version: str) -> dict[str, Any]:
        """As the protocol has it, with the classes of a classifier and what the model is."""
        return {
            "name": self.name,
            "versions": [version],
            "platform": "unspool",
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
            "parameters": self.parameters(),
        }

    def parameters(self) -> dict[str, Any]:
        """What the metadata tell beside the tensors, for the page."""
        return {
            "description": self.model.describe(),
            "kind": self.kind,
            "drawn": self.drawn,
            "options": list(self.options),
            **({} if self.classes is None else {"classes": self.classes}),
        }


def records(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Columns (n,) or (n, ·) as n records of JSON."""
    columns = [to_json(a) if a.ndim == 1 else [to_json(row) for row in a] for a in outputs.values()]
    return [dict(zip(outputs, row)) for row in zip(*columns)]
