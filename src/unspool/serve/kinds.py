"""Served models of other kinds than a number or a class: tags, texts that go on, texts to texts; the class of each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unspool import examples
from unspool.errors import DataError, InvalidParameterError
from unspool.serve.errors import RequestError
from unspool.serve.forecasts import Forecasts
from unspool.serve.imported import Imported
from unspool.serve.limits import Limits
from unspool.serve.rows import Rows, join
from unspool.serve.served import LENGTHS, Served, Spec, records
from unspool.serve.tensors import datatype_of


def served_of(name: str, model: Any, limits: Limits) -> Served:
    """`model` under a name; `DataError` for one that cannot be served."""
    own = {
        "SequenceTagger": Tagger,
        "SequenceGenerator": Generator,
        "Seq2Seq": Pairs,
        "Forecaster": Forecasts,
        "ImportedModel": Imported,
    }
    return own.get(type(model).__name__, Served)(name, model, limits)


class Tagger(Served):
    """tokens BYTES, all behind each other with `lengths`, or a block [n, T] -> tags alike, with their `lengths`; label
    [n] and label_probabilities [n, C] where the model has labels."""

    drawn = ""

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

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> list[Any]:
        """A list of tags for each row; with labels a record, of the tags, the label and the probability of each."""
        ends = np.cumsum(outputs[LENGTHS]).tolist()
        tags = [outputs["tags"][end - n : end].tolist() for end, n in zip(ends, outputs[LENGTHS].tolist())]
        if "label" not in outputs:
            return tags
        beside = records({name: outputs[name] for name in ("label", "label_probabilities")})
        return [{"tags": own, **record} for own, record in zip(tags, beside)]

    def parameters(self) -> dict[str, Any]:
        labels = self.model.labels_
        return {**super().parameters(), **({} if labels is None else {"labels": np.asarray(labels).tolist()})}

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

    drawn, streamed = "attention", False

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

    drawn, streamed = "", False
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
        for name, most in (("max_new_tokens", self.limits.tokens), ("num_beams", self.limits.beams)):
            if type(given.get(name)) is int and given[name] > most:
                raise RequestError(413, f"{name!r} may be {most:,}. Got {given[name]:,}.")
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


def sequences(served: Served) -> list[Any]:
    """Two sequences that the model knows something of; none of a forecaster."""
    return [] if served.kind == "table" else examples.sequences(served.model)
