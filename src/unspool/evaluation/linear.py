"""TF-IDF and a linear model: what a text model must beat, and the part that it may be blended with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from unspool.errors import ModelFileError
from unspool.evaluation.linear_models import Classes, Kind, Labels, Means, Numbers
from unspool.evaluation.terms import Terms, Texts
from unspool.text import TextEncoder

STEP = 10**0.5  # between penalties that are tried
FARTHEST = 14  # steps from 1: 1e-7 to 1e7
PLATEAU = 1e-4  # a relative gain below it does not draw the search on
# So many held-out rows tell penalties apart; further folds would cost as much again and tell the same.
ENOUGH = 10_000


@dataclass
class LinearText:
    """Ridge regression (numbers) or logistic regression (classes, labels) on `Terms`, and on further columns if there
    are.

    `outputs` gives (n, K): numbers in the target's units, or logits. penalty (K,) or (1,): what was chosen, by the
    error of held-out rows: ridge's alpha of each target, or logistic regression's 1 / C.
    """

    terms: Terms
    weights: np.ndarray  # (terms + columns, K)
    bias: np.ndarray  # (K,)
    penalty: np.ndarray

    def outputs(self, texts: Texts, columns: np.ndarray | None = None) -> np.ndarray:
        """float64 (n, K); columns (n, C) float where the fit had them."""
        count = len(self.terms.idf)
        found = np.concatenate([rows.times(self.weights[:count]) for rows in self.terms.blocks(texts)])
        if columns is not None:
            for column, weights in zip(columns.T, self.weights[count:], strict=True):
                found += np.outer(column, weights)
        return found + self.bias

    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved beside the names of the terms: float32."""
        found = {
            "weights": self.weights,
            "bias": self.bias,
            "penalty": self.penalty,
            "idf": self.terms.idf,
        }
        return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}

    @classmethod
    def restored(cls, encoder: TextEncoder, names: list[str], arrays: dict[str, np.ndarray]) -> LinearText:
        """The model whose `arrays()` and terms were saved; `ModelFileError` where they do not fit."""
        found = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
        if len(set(names)) != len(names) or len(found["idf"]) != len(names) > len(found["weights"]):
            raise ModelFileError("the terms of the linear part are repeated, or not as many as its weights.")
        terms = Terms(encoder).restore(names, found["idf"])
        return cls(terms, found["weights"], found["bias"], found["penalty"])


def fit_linear(
    encoder: TextEncoder,
    texts: Texts,
    y: np.ndarray,
    *,
    classes: int | None = None,
    labels: bool = False,
    power: int | None = None,
    columns: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    validation: tuple[Texts, np.ndarray, np.ndarray | None] | None = None,
    penalty: np.ndarray | None = None,
    folds: int = 3,
    seed: int = 0,
) -> LinearText:
    """Choose the penalty, unless it is given, then fit on all of `texts`.

    y: (n,) or (n, K) numbers, with `classes` (n,) class numbers below it, or with `labels` (n, K) of 0 and 1. power: 1
    or 2 for the logarithms of the means of counts or of positive numbers.
    columns: (n, C) floats.
    validation: (texts, y, columns) that the penalty is chosen on; without it, `folds` folds of the texts, or as many of
    them as hold `ENOUGH` rows.
    The range of penalties goes on as long as one of its ends is the best.
    """
    kind: Kind = Classes(classes) if classes else Labels() if labels else Means(power) if power else Numbers()
    y = kind.target(y)
    weight = np.ones(len(texts)) if sample_weight is None else np.asarray(sample_weight)
    terms = Terms(encoder)
    inputs = terms.fit(texts)
    if penalty is None and validation is not None:
        outside = _joined(terms.transform(validation[0]), validation[2])
        wanted = kind.target(validation[1])
        trial = (_joined(inputs, columns), y, weight, outside, wanted, np.ones(len(wanted)))
        penalty = _tuned_on([trial], kind)
    elif penalty is None:
        penalty = _tuned_on(list(_folds(inputs, columns, y, weight, folds, seed)), kind)
    coefficients, bias = kind.fit(_joined(inputs, columns), y, weight, penalty)
    terms.idf = _single(terms.idf)
    return LinearText(terms, _single(coefficients), _single(bias), _single(penalty))


def _single(values: np.ndarray) -> np.ndarray:
    """As the saved model will have them: float64 that are float32."""
    return np.asarray(values, np.float32).astype(np.float64)


# inputs, targets and weights of the rows to fit on, and of those to measure on
Trial = tuple[
    "scipy.sparse.csr_matrix", np.ndarray, np.ndarray, "scipy.sparse.csr_matrix", np.ndarray, np.ndarray
]


def _folds(
    inputs: scipy.sparse.csr_matrix,
    columns: np.ndarray | None,
    y: np.ndarray,
    weight: np.ndarray,
    folds: int,
    seed: int,
) -> Iterator[Trial]:
    """Of each fold, until `ENOUGH` rows were held out: terms that only its held-out rows have do not count."""
    from sklearn.preprocessing import normalize

    seen = 0
    for held in fold_rows(y, folds, seed):
        if seen >= ENOUGH:
            return
        seen += len(held)
        rest = np.setdiff1d(np.arange(len(y)), held)
        known = np.flatnonzero(np.diff(inputs[rest].tocsc().indptr))
        inside, outside = (
            _joined(normalize(inputs[rows][:, known]), None if columns is None else columns[rows])
            for rows in (rest, held)
        )
        yield inside, y[rest], weight[rest], outside, y[held], weight[held]


def _tuned_on(trials: list[Trial], kind: Kind) -> np.ndarray:
    able = [t for t in trials if t[2].sum() > 0 and kind.able(t[1])]

    def error(penalty: float) -> np.ndarray:
        total = np.zeros(())
        for inside, target, weight, outside, wanted, counted in able:
            coefficients, bias = kind.fit(inside, target, weight, np.array([penalty]), 1e-4)
            total = total + kind.error(outside @ coefficients + bias, wanted, counted)
        return np.atleast_1d(total)

    return tuned(error) if able else np.ones(1)


def tuned(error: Callable[[float], np.ndarray]) -> np.ndarray:
    """(K,): for each of the K errors that `error(penalty)` gives, the penalty with the least.

    Tried in steps of √10 around 1, on and on in the direction in which one still falls, up to 1e7 and 1e-7.
    """
    errors = {i: error(STEP**i) for i in (-1, 0, 1)}

    def falls(end: int, before: int) -> bool:
        gains = errors[before] - errors[end]
        best = np.stack(list(errors.values())).min(0)
        return bool(((errors[end] <= best) & (gains > PLATEAU * np.abs(errors[before]))).any())

    while max(errors) < FARTHEST and falls(max(errors), max(errors) - 1):
        errors[max(errors) + 1] = error(STEP ** (max(errors) + 1))
    while min(errors) > -FARTHEST and falls(min(errors), min(errors) + 1):
        errors[min(errors) - 1] = error(STEP ** (min(errors) - 1))
    tried = sorted(errors)
    return STEP ** np.array(tried, float)[np.stack([errors[i] for i in tried]).argmin(0)]


def fold_rows(y: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Row numbers of each fold, with every part of the range of y, or every class, in each as far as it goes."""
    order = np.random.default_rng(seed).permutation(len(y))
    key = y if y.ndim == 1 else y[:, 0]
    order = order[np.argsort(key[order], kind="stable")]
    return [np.sort(order[i::folds]) for i in range(min(folds, len(y)))]


def _joined(terms: scipy.sparse.csr_matrix, columns: np.ndarray | None) -> scipy.sparse.csr_matrix:
    return (
        terms
        if columns is None
        else scipy.sparse.hstack([terms, scipy.sparse.csr_matrix(columns)], format="csr")
    )
