"""What a model must beat: the mean or the majority, and TF-IDF with a linear model.

Both see the training part only, and the linear model the tokens of the model's own encoder. The strength of its
penalty is chosen on the validation part where there is one, otherwise on folds of the training part, from a range
that goes on as long as one of its ends is the best; it is then fitted on the whole training part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.dummy import DummyClassifier, DummyRegressor

from unspool.evaluation.linear import LinearText, fit_linear
from unspool.text import TextEncoder


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline. `settings` says what was chosen; `predict` as scikit-learn's.

    model: a `LinearText`, or a dummy of scikit-learn. classes_: the classes (K,), sorted; None for numbers, whose
    axes, 1 or 2, are `ndim`.
    """

    name: str
    settings: dict[str, Any]
    model: Any
    classes_: np.ndarray | None = None
    ndim: int = 1

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Numbers (B,) or (B, K), or labels (B,)."""
        if not isinstance(self.model, LinearText):
            return self.model.predict(np.zeros((len(texts), 1)))
        outputs = self.model.outputs(texts)
        if self.classes_ is not None:
            return self.classes_[outputs.argmax(1)]
        return outputs[:, 0] if self.ndim == 1 else outputs

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Class probabilities (B, K), columns as in `classes_`."""
        if isinstance(self.model, LinearText):
            return softmax(self.model.outputs(texts), 1)
        return self.model.predict_proba(np.zeros((len(texts), 1)))


def mean_baseline(y: np.ndarray) -> Baseline:
    """The mean of y (B,) or (B, K), for input of any kind."""
    return Baseline("mean", {}, DummyRegressor().fit(np.zeros((len(y), 1)), y), ndim=y.ndim)


def majority_baseline(y: np.ndarray) -> Baseline:
    """The most frequent class of y (B,); its probabilities are the classes' shares."""
    model = DummyClassifier(strategy="prior").fit(np.zeros((len(y), 1)), y)
    return Baseline("majority", {}, model, model.classes_)


def regression_baselines(
    texts: Sequence[str],
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Sequence[str], np.ndarray] | None = None,
    seed: int = 0,
) -> list[Baseline]:
    """The mean, and TF-IDF + ridge; y (B,) or (B, K)."""
    held = None if validation is None else (*validation, None)
    model = fit_linear(TextEncoder(level=level), texts, y, validation=held, seed=seed)
    alpha = model.penalty.tolist()
    settings = _settings(model, alpha=alpha[0] if len(alpha) == 1 else alpha)
    return [mean_baseline(y), Baseline("TF-IDF + ridge", settings, model, ndim=y.ndim)]


def classification_baselines(
    texts: Sequence[str],
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Sequence[str], np.ndarray] | None = None,
    seed: int = 0,
) -> list[Baseline]:
    """The majority class (probabilities: the classes' shares), and TF-IDF + logistic regression; y (B,)."""
    classes, numbers = np.unique(y, return_inverse=True)
    held = None
    if validation is not None:
        known = np.flatnonzero(np.isin(validation[1], classes))
        held = (
            [validation[0][i] for i in known.tolist()],
            np.searchsorted(classes, validation[1][known]),
            None,
        )
        held = held if len(known) else None
    model = fit_linear(
        TextEncoder(level=level), texts, numbers, classes=len(classes), validation=held, seed=seed
    )
    settings = _settings(model, C=float(1 / model.penalty[0]))
    return [majority_baseline(y), Baseline("TF-IDF + logistic regression", settings, model, classes)]


def _settings(model: LinearText, **chosen: Any) -> dict[str, Any]:
    terms = model.terms
    level = terms.encoder.level
    return {"tokens": level, "ngrams": list(terms.ngrams), "terms": len(terms.names), **chosen}
