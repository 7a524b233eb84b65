"""What a model must beat: the mean or the majority, and TF-IDF with a linear model.

Both see the training part only. The strength of the linear model's penalty is chosen on the validation
part where there is one, otherwise on a tenth of the training part, and the model is then fitted on the
whole training part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from unspool.errors import check_choice
from unspool.tables.split import by_fraction

ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STRENGTHS = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline. `settings` says what was chosen; `predict` as scikit-learn's."""

    name: str
    settings: dict[str, Any]
    vectorizer: TfidfVectorizer | None
    model: Any

    @property
    def classes_(self) -> np.ndarray:
        """The classes (K,), sorted."""
        return self.model.classes_

    def _features(self, texts: Sequence[str]) -> Any:
        return np.zeros((len(texts), 1)) if self.vectorizer is None else self.vectorizer.transform(texts)

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Numbers (B,) or (B, K), or labels (B,)."""
        return self.model.predict(self._features(texts))

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Class probabilities (B, K), columns as in `model.classes_`."""
        return self.model.predict_proba(self._features(texts))


def vectorizer(level: str) -> TfidfVectorizer:
    """Word 1-2-grams for level "word"; character 1-5-grams inside words, edges marked, for level "char"."""
    check_choice("vectorizer", "level", level, ("word", "char"))
    if level == "char":
        return TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True)
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")


def mean_baseline(y: np.ndarray) -> Baseline:
    """The mean of y (B,) or (B, K), for input of any kind."""
    return Baseline("mean", {}, None, DummyRegressor().fit(np.zeros((len(y), 1)), y))


def majority_baseline(y: np.ndarray) -> Baseline:
    """The most frequent class of y (B,); its probabilities are the classes' shares."""
    return Baseline("majority", {}, None, DummyClassifier(strategy="prior").fit(np.zeros((len(y), 1)), y))


def regression_baselines(
    texts: Sequence[str],
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Sequence[str], np.ndarray] | None = None,
    seed: int = 0,
) -> list[Baseline]:
    """The mean, and TF-IDF + ridge; y (B,) or (B, K)."""
    part, held_out = _held_out(texts, y, validation, seed)
    terms = vectorizer(level).fit(part[0])
    train, test = terms.transform(part[0]), terms.transform(held_out[0])
    errors = {
        alpha: float(np.mean((_ridge(alpha).fit(train, part[1]).predict(test) - held_out[1]) ** 2))
        for alpha in ALPHAS
    }
    alpha = min(errors, key=errors.__getitem__)
    terms = vectorizer(level).fit(texts)
    ridge = _ridge(alpha).fit(terms.transform(texts), y)
    return [
        mean_baseline(y),
        Baseline("TF-IDF + ridge", _settings(terms, alpha=alpha), terms, ridge),
    ]


def _ridge(alpha: float) -> Ridge:
    return Ridge(alpha=alpha, solver="sparse_cg", tol=1e-5)


def classification_baselines(
    texts: Sequence[str],
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Sequence[str], np.ndarray] | None = None,
    seed: int = 0,
) -> list[Baseline]:
    """The majority class (probabilities: the classes' shares), and TF-IDF + logistic regression; y (B,)."""
    part, held_out = _held_out(texts, y, validation, seed, labels=y)
    terms = vectorizer(level).fit(part[0])
    train, test = terms.transform(part[0]), terms.transform(held_out[0])
    losses = {}
    for strength in STRENGTHS:
        model = _logistic(strength).fit(train, part[1])
        known = np.isin(held_out[1], model.classes_)
        probabilities = model.predict_proba(test[known])
        losses[strength] = log_loss(held_out[1][known], probabilities, labels=model.classes_)
    strength = min(losses, key=losses.__getitem__)
    terms = vectorizer(level).fit(texts)
    logistic = _logistic(strength).fit(terms.transform(texts), y)
    return [
        majority_baseline(y),
        Baseline("TF-IDF + logistic regression", _settings(terms, C=strength), terms, logistic),
    ]


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300)


def _settings(terms: TfidfVectorizer, **chosen: float) -> dict[str, Any]:
    return {
        "analyzer": terms.analyzer,
        "ngrams": list(terms.ngram_range),
        "terms": len(terms.vocabulary_),
        **chosen,
    }


def _held_out(
    texts: Sequence[str],
    y: np.ndarray,
    validation: tuple[Sequence[str], np.ndarray] | None,
    seed: int,
    labels: np.ndarray | None = None,
) -> tuple[tuple[Sequence[str], np.ndarray], tuple[Sequence[str], np.ndarray]]:
    """(fitting part, part for choosing the penalty)."""
    if validation is not None:
        return (texts, y), validation
    split = by_fraction(len(texts), 0.1, seed, labels)
    fit, held = split.train, split.test
    return ([texts[i] for i in fit], y[fit]), ([texts[i] for i in held], y[held])
