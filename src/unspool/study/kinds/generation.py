"""Studies of `SequenceGenerator`: texts, which are their own targets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from unspool.errors import DataError
from unspool.evaluation.metrics import LANGUAGE, Metrics
from unspool.generation.ngram import measured_baseline
from unspool.generation.settings import SETTINGS
from unspool.generation.vocabulary import LEVELS, read_texts
from unspool.study.arrangements import Grid
from unspool.study.kinds import checked, refuse
from unspool.study.problem import Asked, Fitted, Part, Problem, split_part

OWNER = "SequenceGenerator"


@dataclass(frozen=True)
class TextProblem(Problem):
    """A part has one column, texts; of one text each part is a stretch of it, validation and test from its end."""

    grid = Grid(layouts=("one", "stacked"), directions=False)
    of = "texts"
    predicting = "the next token"
    metrics = LANGUAGE
    default_metric = "nats_per_token"

    @classmethod
    def make(cls, X: Any, y: Any, labels: Any, estimator: Any, asked: Asked) -> TextProblem:
        """Check and split; see `unspool.study.compare`."""
        refuse("y", y, estimator)
        refuse("labels", labels, estimator)
        checked(estimator, SETTINGS)
        everything = _read(X)
        if len(everything) == 1 and asked.cv is not None:
            raise DataError("cv makes folds of texts, and X is one text. Give texts, or leave cv out.")
        parts = asked.divide(everything, _read, _split, estimator.validation_fraction)
        return cls(clone(estimator), *parts, asked.cv, asked.random_state)

    def fit(self, model: Any, training: Part, validation: Part | None) -> None:
        """On the texts of the part; one text is given as such."""
        held = None if validation is None else _given(validation)
        model.fit(_given(training), validation_data=held)

    def few(self, training: Part) -> Part:
        """The beginnings of some texts."""
        size = 4 * self.estimator.batch_size * self.estimator.chunk_length
        return Part(([text[:size] for text in training.columns[0][: self.estimator.batch_size]],))

    def blank(self) -> Any:
        """Knows some tokens: their number is none of recurrent layers."""
        model = clone(self.estimator)
        model.vocabulary_ = LEVELS[model.level].fit(self.few(self.train).columns[0], model.max_words)
        return model

    def measure(self, model: Any, part: Part) -> Metrics:
        """Each text from its beginning."""
        found = model.evaluate(_given(part))
        return {name: found[name] for name in self.metrics}

    def baselines(self, training: Part, validation: Part | None) -> list[Fitted]:
        """n-grams of the tokens that the model has, fitted on the training part."""
        started = time.perf_counter()
        texts = training.columns[0]
        vocabulary = LEVELS[self.estimator.level].fit(texts, self.estimator.max_words)
        name, measure = measured_baseline(vocabulary, texts, ends=len(texts) > 1)

        def on(part: Part) -> Metrics:
            found = measure(part.columns[0])
            return {name: found[name] for name in self.metrics}

        return [Fitted(name, on, time.perf_counter() - started)]

    def facts(self) -> dict[str, str]:
        """Characters of each part."""
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        sizes = [
            f"{sum(map(len, p.columns[0])):,} characters of {name}"
            for name, p in parts.items()
            if p is not None
        ]
        return {"input": ", ".join(sizes)}


def _read(X: Any) -> Part:
    texts = read_texts(OWNER, X)
    if not any(texts):
        raise DataError("The texts hold no token. Give a text, or a list of texts.")
    return Part((texts,))


def _given(part: Part) -> str | list[str]:
    texts = part.columns[0]
    return texts[0] if len(texts) == 1 else texts


def _split(part: Part, share: float, random: np.random.RandomState) -> tuple[Part, Part]:
    """(the rest, a share): of one text its end, of several drawn ones."""
    if len(part) > 1:
        return split_part(part, share, random)
    text = part.columns[0][0]
    cut = len(text) - round(share * len(text))
    if not 0 < cut < len(text):
        raise DataError(f"A text of {len(text)} characters is too short to hold back {share:.0%} of it.")
    return Part(([text[:cut]],)), Part(([text[cut:]],))
