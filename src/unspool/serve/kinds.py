"""Served models of other kinds than a number or a class: tags, texts that go on, texts to texts, forecasts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unspool import examples
from unspool.errors import DataError, InvalidParameterError
from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits
from unspool.serve.rows import Rows, join
from unspool.serve.served import LENGTHS, Served, Spec
from unspool.serve.tensors import datatype_of


def served_of(name: str, model: Any, limits: Limits) -> Served:
    """`model` under a name; `DataError` for one that cannot be served."""
    own = {
        "SequenceTagger": Tagger,
        "SequenceGenerator": Generator,
        "Seq2Seq": Pairs,
        "Forecaster": Forecasts,
    }
    return own.get(type(model).__name__, Served)(name, model, limits)


class Tagger(Served):
    """tokens BYTES, all behind each other with `lengths`, or a block [n, T] -> tags alike, with their `lengths`; label
    [n] and label_probabilities [n, C] where the model has labels."""

    drawn = False

    def _check(self) -> None:
        self.kind, self.text_column = "tokens", None

    def _inputs(self) -> list[Spec]:
        return [Spec("tokens", "BYTES", (-1, -1)), Spec(LENGTHS, "INT64", (-1,), optional=True)]

    def _outputs(self) -> list[Spec]:
        found = [Spec("tags", "BYTES", (-1,)), Spec(LENGTHS, "INT64", (-1,))]
        if self.model.labels_ is not None:
            found += [
                Spec("label", datatype_of(np.asarray(self.model.labels_)), (-1,)),
                Spec("label_probabilities", "FP64", (-1, len(self.model.labels_))),
            ]
        return found

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        sentences = [sentence for part in parts for sentence in _sentences(part)]
        found = self.model._predicted(sentences)
        answers, at = [], 0
        for part in parts:
            rows = slice(at, at + part.count)
            at += part.count
            tags = [tag for row in found.tags[rows] for tag in row]
            one = {"tags": np.array(tags, dtype=object), LENGTHS: np.asarray(part.lengths, np.int64)}
            if found.labels is not None:
                one |= {"label": found.labels[rows], "label_probabilities": found.label_probabilities[rows]}
            answers.append(one)
        return answers

    def answers(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Of a stream: the tags of the steps that came, scores (T, K)."""
        tags = [str(tag) for tag in self.model.classes_[outputs.argmax(1)]] if len(outputs) else []
        return {"tags": np.array(tags, dtype=object), LENGTHS: np.array([len(tags)], np.int64)}


def _sentences(part: Rows) -> list[list[str]]:
    assert part.values is not None and part.lengths is not None
    ends = np.cumsum(part.lengths).tolist()
    return [part.values[end - n : end].tolist() for end, n in zip(ends, part.lengths.tolist())]


class Pairs(Served):
    """text BYTES [n] -> prediction BYTES [n], the likeliest token at each step, and its log_probability FP64 [n]."""

    drawn = False

    def _check(self) -> None:
        self.kind, self.text_column = "text", None

    def _inputs(self) -> list[Spec]:
        return [Spec("text", "BYTES", (-1,))]

    def _outputs(self) -> list[Spec]:
        return [Spec("prediction", "BYTES", (-1,)), Spec("log_probability", "FP64", (-1,))]

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        found = self.model.columns(join(parts).texts)
        both = {"prediction": found["prediction"], "log_probability": found["log_probability_prediction"]}
        ends = np.cumsum([part.count for part in parts]).tolist()
        return [
            {name: a[end - part.count : end] for name, a in both.items()} for part, end in zip(parts, ends)
        ]


class Generator(Served):
    """prompt BYTES [n] -> text BYTES [n] that goes on from each, by the arguments of `generate` as parameters of the
    request; `max_new_tokens` is `Limits.tokens` at most."""

    drawn = False
    options = (
        "max_new_tokens",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "num_beams",
        "stop",
        "random_state",
    )

    def _check(self) -> None:
        self.kind, self.text_column = "text", None

    def _inputs(self) -> list[Spec]:
        return [Spec("prompt", "BYTES", (-1,))]

    def _outputs(self) -> list[Spec]:
        return [Spec("text", "BYTES", (-1,))]

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        limit = given.get("max_new_tokens", 200)
        if type(limit) is int and limit > self.limits.tokens:
            raise RequestError(413, f"'max_new_tokens' may be {self.limits.tokens:,}. Got {limit:,}.")
        return dict(given)

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        """One request after the other: what is drawn for a row follows from its place in the request."""
        return [{"text": np.array(self._generated(part), dtype=object)} for part in parts]

    def _generated(self, part: Rows) -> list[str]:
        try:
            return self.model.generate(part.texts, **part.options)
        except InvalidParameterError as error:
            raise DataError(str(error)) from error

    def pieces(self, prompt: str, given: Mapping[str, Any]) -> Iterator[str]:
        """The text piece by piece; `DataError` and `RequestError` for what `generate` would refuse."""
        known = set(inspect.signature(self.model.stream).parameters)
        for name in given:
            if name not in known:
                raise DataError(
                    f"{name!r:.60} is no parameter of a stream. It has {', '.join(sorted(known))}."
                )
        try:
            return self.model.stream(prompt, **self.checked(given))
        except (InvalidParameterError, TypeError) as error:
            raise DataError(str(error)) from error


class Forecasts(Served):
    """A long table, a tensor [N] a column as `fit` had it -> the long table of the steps ahead, N' = series x h.

    Time stamps are INT64 where `fit` had whole numbers, and text otherwise. The parameter `h`: steps, the horizon.
    """

    drawn = False
    options = ("h",)

    def _check(self) -> None:
        self.kind, self.text_column = "table", None
        if self.model.future:
            raise DataError(
                f"The forecaster {self.name!r} has covariates that are known ahead (future=...), which a request has "
                "no table for. Call predict, or fit one without them."
            )
        panel = self.model.tail_
        self.names = panel.names
        self.whole_time = panel.stamps.kind == "int"
        self.whole_ids = bool(panel.id_type.is_integer())

    def _columns(self) -> list[Spec]:
        found = (
            []
            if self.names.id is None
            else [Spec(self.names.id, "INT64" if self.whole_ids else "BYTES", (-1,))]
        )
        found.append(Spec(self.names.time, "INT64" if self.whole_time else "BYTES", (-1,)))
        return [*found, Spec(self.names.target, "FP64", (-1,))]

    def _inputs(self) -> list[Spec]:
        first = self.model.tail_.static[0] if self.names.static else ()
        kinds = ["BYTES" if isinstance(value, str) else "FP64" for value in first]
        past = [Spec(name, "FP64", (-1,)) for name in self.names.past]
        return [*self._columns(), *past, *(Spec(n, k, (-1,)) for n, k in zip(self.names.static, kinds))]

    def _outputs(self) -> list[Spec]:
        return self._columns()

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        h = given.get("h", self.model.horizon)
        if type(h) is not int or not 1 <= h <= self.limits.tokens:
            raise RequestError(
                422, f"The parameter 'h' must be an int in [1, {self.limits.tokens}]. Got {h!r:.40}."
            )
        return {"h": h}

    def rows(self, tensors: Mapping[str, np.ndarray]) -> Rows:
        self._check_names(tensors)
        sizes = {name: array.size for name, array in tensors.items()}
        if len(set(sizes.values())) > 1 or any(array.ndim != 1 for array in tensors.values()):
            raise RequestError(422, f"Each column must have shape [N], N rows. Got {sizes}.")
        for spec in self.inputs:
            self._check_type(spec, tensors[spec.name])
        count = next(iter(sizes.values()))
        if not count:
            raise RequestError(422, "The request holds no row. Give one at least.")
        if count > self.limits.steps:
            raise RequestError(413, f"A table may have {self.limits.steps:,} rows. Got {count:,}.")
        rows = Rows(lengths=np.array([count], np.int64))
        rows.columns = {name: array.tolist() for name, array in tensors.items()}
        return rows

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        return [self._forecast(part) for part in parts]

    def _forecast(self, part: Rows) -> dict[str, np.ndarray]:
        found = self.model.predict(h=part.options.get("h"), df=part.columns)
        answer = {}
        for spec in self.outputs:
            column = np.asarray(found[spec.name])
            if spec.datatype == "BYTES":
                column = np.array([str(value) for value in column.tolist()], dtype=object)
            answer[spec.name] = column.astype(np.float64) if spec.datatype == "FP64" else column
        return answer

    def example(self) -> list[dict[str, Any]]:
        """The end of the first series."""
        panel = self.model.tail_
        steps = int(panel.counts[0])
        frame = panel.frame(np.zeros(steps, np.int64), np.arange(steps))
        values = panel.values[0]
        columns: dict[str, list[Any]] = {name: frame[name].to_list() for name in frame.columns}
        for k, name in enumerate([self.names.target, *self.names.past]):
            columns[name] = [None if np.isnan(v) else float(f"{v:.6g}") for v in values[:, k]]
        for name, value in zip(self.names.static, panel.static[0] if panel.static else ()):
            columns[name] = [value] * steps
        found = []
        for spec in self.inputs:
            data = columns[spec.name]
            data = [str(v) for v in data] if spec.datatype == "BYTES" else data
            found.append({"name": spec.name, "datatype": spec.datatype, "shape": [steps], "data": data})
        return found


def sequences(served: Served) -> list[Any]:
    """Two sequences that the model knows something of; none of a forecaster."""
    return [] if served.kind == "table" else examples.sequences(served.model)
