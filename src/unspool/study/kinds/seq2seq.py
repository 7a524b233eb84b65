"""Studies of `Seq2Seq`: pairs of texts."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from unspool.errors import DataError, check_choice
from unspool.evaluation.metrics import TEXTS, Metrics
from unspool.evaluation.texts import error_packages, text_metrics
from unspool.seq2seq.baselines import NearestPair, TokenByToken
from unspool.seq2seq.reading import read_pairs
from unspool.seq2seq.settings import ATTENTIONS, SETTINGS
from unspool.seq2seq.sides import Side
from unspool.study.arrangements import Grid
from unspool.study.kinds import checked, refuse
from unspool.study.problem import Asked, Fitted, Part, Problem


def _attention(name: str) -> None:
    check_choice("compare", "attentions", name, ATTENTIONS)


@dataclass(frozen=True)
class PairProblem(Problem):
    """Columns of a part: sources and targets. Decoding is greedy."""

    grid = Grid("attention", ("multiplicative", "additive"), _attention, ("one", "stacked"), directions=False)
    of = "pairs"
    predicting = "texts"
    metrics = TEXTS
    default_metric = "exact_match"

    @classmethod
    def make(cls, X: Any, y: Any, labels: Any, estimator: Any, asked: Asked) -> PairProblem:
        """Check and split; see `unspool.study.compare`."""
        error_packages()
        refuse("labels", labels, estimator)
        checked(estimator, SETTINGS)

        def given(data: Any) -> Part:
            if not isinstance(data, tuple) or len(data) != 2:
                raise DataError(f"validation and test must be a pair (X, y). Got {type(data).__name__}.")
            return Part(read_pairs(*data))

        parts = asked.divide(Part(read_pairs(X, y)), given, _split, estimator.validation_fraction)
        return cls(clone(estimator), *parts, asked.cv, asked.random_state)

    def fit(self, model: Any, training: Part, validation: Part | None) -> None:
        """Sources to targets."""
        model.fit(*training.columns, validation_data=None if validation is None else validation.columns)

    def blank(self) -> Any:
        """Knows some tokens: their number is none of recurrent layers."""
        model = clone(self.estimator)
        sides = self._sides(self.few(self.train))
        model.source_, model.target_ = sides["source"], sides["target"]
        return model

    def _sides(self, part: Part) -> dict[str, Side]:
        return {
            name: Side.fit(name, texts, getattr(self.estimator, f"{name}_level"), self.estimator.max_words)
            for name, texts in zip(("source", "target"), part.columns)
        }

    def measure(self, model: Any, part: Part) -> Metrics:
        """Exact matches, errors, BLEU."""
        sources, targets = part.columns
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*did not come to an end")
            warnings.filterwarnings("ignore", message=".*hold a token that the training part had not")
            return text_metrics(list(model.predict(sources)), targets)

    def baselines(self, training: Part, validation: Part | None) -> list[Fitted]:
        """The nearest training pair, and a translation token by token."""
        found, sides = [], self._sides(training)
        for model in (NearestPair(), TokenByToken(sides["source"], sides["target"])):
            started = time.perf_counter()
            fitted = model.fit(*training.columns)
            seconds = time.perf_counter() - started
            found.append(Fitted(model.name, partial(self.measure, fitted), seconds))
        return found

    def facts(self) -> dict[str, str]:
        """Sizes of both sides."""
        return {
            name: f"{sum(map(len, texts)):,} characters in {len(set(texts)):,} distinct texts"
            for name, texts in zip(("input", "target"), self.train.columns)
        }


def _split(part: Part, share: float, random: np.random.RandomState) -> tuple[Part, Part]:
    """(the rest, a share of the distinct sources, each with all its rows)."""
    distinct, number = np.unique(np.array(part.columns[0], dtype=object), return_inverse=True)
    count = max(1, round(share * len(distinct)))
    if count >= len(distinct):
        raise DataError(f"Of {len(distinct)} distinct sources none can be held back. Give more pairs.")
    chosen = np.zeros(len(distinct), dtype=bool)
    chosen[random.permutation(len(distinct))[:count]] = True
    held = chosen[number]
    return part.take(np.flatnonzero(~held)), part.take(np.flatnonzero(held))
