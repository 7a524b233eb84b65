"""What a model must beat: the mean or the majority, and TF-IDF with a linear model.

Both see the training part only, and the linear model the tokens of the model's own encoder. The strength of its
penalty is chosen on the validation part where there is one, otherwise on folds of the training part, from a range
that goes on as long as one of its ends is the best; it is then fitted on the whole training part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from unspool.encode import Columns, read_rows
from unspool.evaluation.linear import LinearText, fit_linear, fold_rows
from unspool.evaluation.linear_models import LARGEST_LOG
from unspool.evaluation.thresholds import USUAL, best_thresholds
from unspool.text import TextEncoder

Given = tuple[Sequence[str], np.ndarray | None]


@dataclass(frozen=True)
class Reader:
    """X as an estimator with these settings takes it, to texts and the matrix (n, C) of the columns beside them."""

    settings: Mapping[str, Any]
    columns: Columns | None

    @classmethod
    def fit(cls, X: Any, settings: Mapping[str, Any]) -> Reader:
        """Learn the columns of the training part."""
        raw = read_rows("Baseline", X, settings)
        columns = Columns.fit(raw, settings["numeric"], settings["categorical"]) if raw.columns else None
        return cls(settings, columns)

    def __call__(self, X: Any) -> Given:
        raw = read_rows("Baseline", X, self.settings)
        return raw.data, None if self.columns is None else self.columns.encode(raw).numpy().astype(np.float64)


def texts_alone(X: Sequence[str]) -> Given:
    """X is texts."""
    return X, None


def _reader(X: Any, settings: Mapping[str, Any] | None) -> Callable[[Any], Given]:
    beside = settings is not None and settings["text_column"] is not None
    return Reader.fit(X, settings) if beside and settings is not None else texts_alone


def _held(
    read: Callable[[Any], Given], validation: tuple[Any, np.ndarray] | None
) -> tuple[Sequence[str], np.ndarray, np.ndarray | None] | None:
    """What `fit_linear` takes as validation."""
    if validation is None:
        return None
    texts, columns = read(validation[0])
    return texts, validation[1], columns


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline. `settings` says what was chosen; `predict` as scikit-learn's.

    read: what turns X into texts and a matrix.
    model: a `LinearText`, or a dummy of scikit-learn. classes_: the classes (K,), sorted; None for numbers, whose
    axes, 1 or 2, are `ndim`. thresholds (K,): of several labels a row, whose names are `classes_`. logs: the linear
    model gives logarithms.
    """

    name: str
    settings: dict[str, Any]
    model: Any
    classes_: np.ndarray | None = None
    ndim: int = 1
    read: Callable[[Any], Given] = texts_alone
    thresholds: np.ndarray | None = None
    logs: bool = False

    def predict(self, X: Any) -> np.ndarray:
        """Numbers (B,) or (B, K), or labels (B,); of several a row 0 or 1 (B, K)."""
        if self.thresholds is not None:
            return (self.predict_proba(X) >= self.thresholds).astype(np.int64)
        texts, columns = self.read(X)
        if not isinstance(self.model, LinearText):
            return self.model.predict(np.zeros((len(texts), 1)))
        outputs = self.model.outputs(texts, columns)
        if self.classes_ is not None:
            return self.classes_[outputs.argmax(1)]
        outputs = np.exp(np.clip(outputs, -LARGEST_LOG, LARGEST_LOG)) if self.logs else outputs
        return outputs[:, 0] if self.ndim == 1 else outputs

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (B, K), columns as in `classes_`."""
        texts, columns = self.read(X)
        if isinstance(self.model, LinearText):
            outputs = self.model.outputs(texts, columns)
            return (
                scipy.special.softmax(outputs, 1) if self.thresholds is None else scipy.special.expit(outputs)
            )
        if self.thresholds is not None:
            return np.tile(self.model.constant_, (len(texts), 1))
        return self.model.predict_proba(np.zeros((len(texts), 1)))


def mean_baseline(y: np.ndarray, read: Callable[[Any], Given] = texts_alone) -> Baseline:
    """The mean of y (B,) or (B, K), for input of any kind."""
    return Baseline("mean", {}, _means(y), ndim=y.ndim, read=read)


def majority_baseline(y: np.ndarray, read: Callable[[Any], Given] = texts_alone) -> Baseline:
    """The most frequent class of y (B,); its probabilities are the classes' shares."""
    model = _shares(y)
    return Baseline("majority", {}, model, model.classes_, read=read)


def _means(y: np.ndarray) -> Any:
    from sklearn.dummy import DummyRegressor

    return DummyRegressor().fit(np.zeros((len(y), 1)), y)


def _shares(y: np.ndarray, counted: np.ndarray | None = None) -> Any:
    """Of the classes y (B,); counted (B,): the weight of each row, None: 1."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior").fit(np.zeros((len(y), 1)), y, sample_weight=counted)


def regression_baselines(
    X: Any,
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Any, np.ndarray] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Baseline]:
    """The mean, and TF-IDF + ridge; y (B,) or (B, K). X: texts, or with `settings`, an estimator's parameters, a
    DataFrame or dict of the columns that they name."""
    read = _reader(X, settings)
    texts, columns = read(X)
    held = _held(read, validation)
    model = fit_linear(TextEncoder(level=level), texts, y, columns=columns, validation=held, seed=seed)
    alpha = model.penalty.tolist()
    chosen = _settings(model, alpha=alpha[0] if len(alpha) == 1 else alpha)
    return [mean_baseline(y, read), Baseline("TF-IDF + ridge", chosen, model, ndim=y.ndim, read=read)]


def log_link_baselines(
    X: Any,
    y: np.ndarray,
    power: int,
    *,
    level: str = "word",
    validation: tuple[Any, np.ndarray] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Baseline]:
    """The mean, and TF-IDF + Poisson (power 1) or gamma (2) regression; y (B,) or (B, K). X, settings: as of
    `regression_baselines`."""
    read = _reader(X, settings)
    texts, columns = read(X)
    held = _held(read, validation)
    model = fit_linear(
        TextEncoder(level=level), texts, y, power=power, columns=columns, validation=held, seed=seed
    )
    alpha = model.penalty.tolist()
    chosen = _settings(model, alpha=alpha[0] if len(alpha) == 1 else alpha)
    name = f"TF-IDF + {'Poisson' if power == 1 else 'gamma'} regression"
    return [mean_baseline(y, read), Baseline(name, chosen, model, ndim=y.ndim, read=read, logs=True)]


def classification_baselines(
    X: Any,
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Any, np.ndarray] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Baseline]:
    """The majority class (probabilities: the classes' shares), and TF-IDF + logistic regression; y (B,). X, settings:
    as of `regression_baselines`."""
    read = _reader(X, settings)
    classes, numbers = np.unique(y, return_inverse=True)
    held = None
    if validation is not None:
        known = np.flatnonzero(np.isin(validation[1], classes))
        others, beside = read(validation[0])
        held = (
            [others[i] for i in known.tolist()],
            np.searchsorted(classes, validation[1][known]),
            None if beside is None else beside[known],
        )
        held = held if len(known) else None
    return [majority_baseline(y, read), _logistic(read, X, numbers, classes, level, held, seed)]


def ordinal_baselines(
    X: Any,
    ranks: np.ndarray,
    order: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Any, np.ndarray] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Baseline]:
    """As `classification_baselines`, of ranks (B,) of the classes `order` (K,), which are `classes_` in that order; X
    None: the shares alone."""
    everyone = np.arange(len(order))
    counted = np.concatenate([np.ones(len(ranks)), np.zeros(len(order))])  # every class is known, seen or not
    model = _shares(np.concatenate([ranks, everyone]), counted)
    if X is None:
        return [Baseline("majority", {}, model, order)]
    read = _reader(X, settings)
    held = _held(read, validation)
    return [
        Baseline("majority", {}, model, order, read=read),
        _logistic(read, X, ranks, order, level, held, seed),
    ]


def _logistic(
    read: Callable[[Any], Given],
    X: Any,
    numbers: np.ndarray,
    classes: np.ndarray,
    level: str,
    held: tuple[Sequence[str], np.ndarray, np.ndarray | None] | None,
    seed: int,
) -> Baseline:
    """TF-IDF and logistic regression of numbers (B,) of `classes`; held: what `fit_linear` takes as validation."""
    texts, columns = read(X)
    model = fit_linear(
        TextEncoder(level=level),
        texts,
        numbers,
        classes=len(classes),
        columns=columns,
        validation=held,
        seed=seed,
    )
    chosen = _settings(model, C=float(1 / model.penalty[0]))
    return Baseline("TF-IDF + logistic regression", chosen, model, classes, read=read)


def share_baseline(y: np.ndarray, read: Callable[[Any], Given] = texts_alone) -> Baseline:
    """The share of the rows that have each label, y (B, C) of 0 and 1; given are those of half of the rows or more."""
    model = _means(y)
    names = np.arange(y.shape[1])
    return Baseline("majority", {}, model, names, 2, read, np.full(y.shape[1], USUAL))


def multilabel_baselines(
    X: Any,
    y: np.ndarray,
    *,
    level: str = "word",
    validation: tuple[Any, np.ndarray] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Baseline]:
    """The labels' shares, and TF-IDF with a logistic regression for each label; y (B, C) of 0 and 1.

    Its thresholds are found on the validation part, or else on a tenth of the rows, for which it is fitted without
    them. X, settings: as of `regression_baselines`.
    """
    read = _reader(X, settings)
    texts, columns = read(X)
    held = _held(read, validation)
    model = fit_linear(
        TextEncoder(level=level), texts, y, labels=True, columns=columns, validation=held, seed=seed
    )
    if held is not None:
        thresholds = best_thresholds(scipy.special.expit(model.outputs(held[0], held[2])), held[1])
    else:
        some = fold_rows(y, 10, seed)[0]
        rest = np.setdiff1d(np.arange(len(y)), some)
        parts = [
            ([texts[i] for i in rows], y[rows], None if columns is None else columns[rows])
            for rows in (rest, some)
        ]
        (inside, known, beside), (outside, wanted, other) = parts
        trial = fit_linear(
            TextEncoder(level=level), inside, known, labels=True, columns=beside, penalty=model.penalty
        )
        thresholds = best_thresholds(scipy.special.expit(trial.outputs(outside, other)), wanted)
    chosen = _settings(model, C=(1 / model.penalty).tolist(), thresholds=thresholds.tolist())
    name, names = "TF-IDF + logistic regression", np.arange(y.shape[1])
    return [share_baseline(y, read), Baseline(name, chosen, model, names, 2, read, thresholds)]


def _settings(model: LinearText, **chosen: Any) -> dict[str, Any]:
    terms = model.terms
    level = terms.encoder.level
    return {"tokens": level, "ngrams": list(terms.ngrams), "terms": len(terms.names), **chosen}
