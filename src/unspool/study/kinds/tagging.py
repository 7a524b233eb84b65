"""Studies of `SequenceTagger`: a tag for each token, and a label of each sentence where there is one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from unspool.encode.base import Raw
from unspool.encode.tokens import TokenInput, read_sentences
from unspool.errors import DataError
from unspool.evaluation.metrics import TAGS, Metrics
from unspool.study.arrangements import Grid
from unspool.study.kinds import checked
from unspool.study.problem import Asked, Fitted, Headings, Part, Problem, split_part
from unspool.tagging.baselines import baselines
from unspool.tagging.measures import Measures
from unspool.tagging.parameters import TABLE
from unspool.tagging.reading import Numbers, decide_scheme, in_scheme, read_labels, read_tags


@dataclass(frozen=True)
class TaggingProblem(Problem):
    """Columns of a part: sentences, tags and, where there are labels, these."""

    grid = Grid()
    of = "sentences"
    predicting = "tags"

    @classmethod
    def make(cls, X: Any, y: Any, labels: Any, estimator: Any, asked: Asked) -> TaggingProblem:
        """Check and split; see `unspool.study.compare`."""
        checked(estimator, TABLE)
        labelled = labels is not None

        def given(data: Any) -> Part:
            if not isinstance(data, tuple) or len(data) != 2 + labelled:
                expected = "(X, y, labels)" if labelled else "(X, y)"
                raise DataError(f"validation and test must be {expected}. Got {type(data).__name__}.")
            return _read(*data)

        everything = _read(X, y, labels)
        parts = asked.divide(everything, given, split_part, estimator.validation_fraction)
        return cls(clone(estimator), *parts, asked.cv, asked.random_state)

    @property
    def scheme(self) -> str | None:
        """How the tags mark spans."""
        return decide_scheme(self.estimator.scheme, self.train.columns[1])

    @property
    def metrics(self) -> Headings:
        """Span F1 where tags mark spans; accuracy of tags and, where there are some, of labels."""
        out = {"span_f1"} if self.scheme is None else set()
        out |= {"label_accuracy"} if len(self.train.columns) == 2 else set()
        return {name: heading for name, heading in TAGS.items() if name not in out}

    @property
    def default_metric(self) -> str:
        """Span F1, or the accuracy of tags."""
        return next(iter(self.metrics))

    def fit(self, model: Any, training: Part, validation: Part | None) -> None:
        """With labels where there are some."""
        model.fit(*training.columns, validation_data=None if validation is None else validation.columns)

    def blank(self) -> Any:
        """Knows words, characters and tags."""
        model = clone(self.estimator)
        X, y, *labels = self.train.columns
        model.scheme_, model.input_ = self.scheme, TokenInput.new(model.get_params(deep=False))
        model.input_.fit(Raw(TokenInput.kind, X))
        model.numbers_ = Numbers.fit(in_scheme(y, self.scheme), np.array(labels[0]) if labels else None)
        return model

    def measure(self, model: Any, part: Part) -> Metrics:
        """Spans as conlleval counts them."""
        return self._metrics(model.measure(*part.columns))

    def _metrics(self, found: Measures) -> Metrics:
        values = {
            "span_f1": None if found.spans is None else found.spans.f1,
            "token_accuracy": found.token_accuracy,
            "label_accuracy": found.label_accuracy,
        }
        return {name: values[name] for name in self.metrics}

    def baselines(self, training: Part, validation: Part | None) -> list[Fitted]:
        """Each word's most frequent tag, and a linear model on words, affixes and neighbours."""
        started, scheme = time.perf_counter(), self.scheme
        X, y, *labels = training.columns
        fitted = baselines(X, y, labels[0] if labels else None, self.random_state)
        seconds = time.perf_counter() - started
        found = []
        for b in fitted:

            def measure(part: Part, b: Any = b) -> Metrics:
                X, y, *labels = part.columns
                return self._metrics(b.measure(X, y, scheme, *labels))

            found.append(Fitted(b.name, measure, seconds if b is fitted[-1] else 0.0))
        return found

    def facts(self) -> dict[str, str]:
        """Tokens and tags."""
        X, y, *labels = self.train.columns
        known = {tag for tags in y for tag in tags if tag is not None}
        kinds = f", {len(set(labels[0]))} labels of sentences" if labels else ""
        how = f" ({self.scheme})" if self.scheme else ""
        return {"input": f"{sum(map(len, X)):,} tokens", "target": f"{len(known)} tags{how}{kinds}"}


def _read(X: Any, y: Any, labels: Any = None) -> Part:
    sentences = read_sentences(X)
    own = () if labels is None else (read_labels(labels, len(sentences)).tolist(),)
    return Part((sentences, read_tags(y, sentences), *own))
