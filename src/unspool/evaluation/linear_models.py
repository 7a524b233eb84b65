"""Linear models of sparse inputs: of numbers, of classes, of labels; fitted for a penalty, and their error.

scikit-learn's, imported where they are fitted: a saved model needs none of them.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
import scipy

UNSEEN = -20.0  # logit of a class or label that a fold has not
TOLERANCE = 1e-5
LARGEST_LOG = 30.0
Fitted = tuple[np.ndarray, np.ndarray]  # coefficients (D, K), bias (K,)


class Kind(Protocol):
    """What the outputs are of. inputs (n, D); y as `target` gives it; weight (n,); penalty (K,) or (1,)."""

    def target(self, y: np.ndarray) -> np.ndarray:
        """y in the form that the other methods take."""

    def able(self, y: np.ndarray) -> bool:
        """Whether a model can be fitted to y."""

    def fit(
        self,
        inputs: scipy.sparse.csr_matrix,
        y: np.ndarray,
        weight: np.ndarray,
        penalty: np.ndarray,
        tolerance: float = TOLERANCE,
    ) -> Fitted:
        """Coefficients and bias."""

    def error(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Summed over the rows, for each penalty that is chosen: (K,) or (1,)."""


class Numbers:
    """Ridge regression; y (n, K)."""

    def target(self, y: np.ndarray) -> np.ndarray:
        """(n, K) float64."""
        return np.asarray(y, np.float64).reshape(len(y), -1)

    def able(self, y: np.ndarray) -> bool:
        """Always."""
        return True

    def fit(
        self,
        inputs: scipy.sparse.csr_matrix,
        y: np.ndarray,
        weight: np.ndarray,
        penalty: np.ndarray,
        tolerance: float = TOLERANCE,
    ) -> Fitted:
        """All targets at once."""
        from sklearn.linear_model import Ridge

        alpha = penalty if len(penalty) == y.shape[1] else penalty[0]
        ridge = Ridge(alpha=alpha, solver="sparse_cg", tol=tolerance).fit(inputs, y, sample_weight=weight)
        return ridge.coef_.reshape(y.shape[1], -1).T, np.atleast_1d(ridge.intercept_)

    def error(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(K,): squared."""
        return (weight[:, None] * (outputs - y) ** 2).sum(0)


class Means:
    """Poisson (power 1) or gamma (2) regression, whose outputs are logarithms of means; y (n, K), 0 or more."""

    def __init__(self, power: int) -> None:
        self.power = power

    def target(self, y: np.ndarray) -> np.ndarray:
        """(n, K) float64."""
        return np.asarray(y, np.float64).reshape(len(y), -1)

    def able(self, y: np.ndarray) -> bool:
        """Unless a target is 0 throughout."""
        return bool((y.max(0) > 0).all())

    def fit(
        self,
        inputs: scipy.sparse.csr_matrix,
        y: np.ndarray,
        weight: np.ndarray,
        penalty: np.ndarray,
        tolerance: float = TOLERANCE,
    ) -> Fitted:
        """Target by target, of mean 1 while it is fitted; the penalty is of the summed loss, as ridge's."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import TweedieRegressor

        coefficients, bias = np.zeros((inputs.shape[1], y.shape[1])), np.zeros(y.shape[1])
        for k, own in enumerate(np.broadcast_to(penalty, y.shape[1])):
            mean = np.average(y[:, k], weights=weight)
            model = TweedieRegressor(
                power=self.power, alpha=own / weight.sum(), link="log", tol=tolerance, max_iter=300
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(inputs, y[:, k] / mean, sample_weight=weight)
            coefficients[:, k], bias[k] = model.coef_, model.intercept_ + np.log(mean)
        return coefficients, bias

    def error(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(K,): the negative log-likelihood but for what does not depend on the outputs."""
        logs = np.clip(outputs, -LARGEST_LOG, LARGEST_LOG)
        each = np.exp(logs) - y * logs if self.power == 1 else logs + y * np.exp(-logs)
        return (weight[:, None] * each).sum(0)


class Classes:
    """Logistic regression; y (n,) numbers below `count`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def target(self, y: np.ndarray) -> np.ndarray:
        """As it is."""
        return np.asarray(y)

    def able(self, y: np.ndarray) -> bool:
        """Two classes or more."""
        return len(np.unique(y)) > 1

    def fit(
        self,
        inputs: scipy.sparse.csr_matrix,
        y: np.ndarray,
        weight: np.ndarray,
        penalty: np.ndarray,
        tolerance: float = TOLERANCE,
    ) -> Fitted:
        """By softmax."""
        coefficients = np.zeros((inputs.shape[1], self.count))
        bias = np.full(self.count, UNSEEN)
        model = _logistic(inputs, y, weight, penalty[0], tolerance)
        rows, intercept = model.coef_, model.intercept_
        if len(model.classes_) == 2:
            rows, intercept = np.concatenate([-rows, rows]) / 2, np.concatenate([-intercept, intercept]) / 2
        coefficients[:, model.classes_], bias[model.classes_] = rows.T, intercept
        return coefficients, bias

    def error(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(1,): cross-entropy."""
        return -(weight * scipy.special.log_softmax(outputs, 1)[np.arange(len(y)), y]).sum(keepdims=True)


class Labels:
    """A logistic regression for each label; y (n, C) of 0 and 1."""

    def target(self, y: np.ndarray) -> np.ndarray:
        """(n, C) int64."""
        return np.asarray(y, np.int64)

    def able(self, y: np.ndarray) -> bool:
        """Always: a label that no row has, or every one, has a bias alone."""
        return True

    def fit(
        self,
        inputs: scipy.sparse.csr_matrix,
        y: np.ndarray,
        weight: np.ndarray,
        penalty: np.ndarray,
        tolerance: float = TOLERANCE,
    ) -> Fitted:
        """Label by label."""
        coefficients, bias = np.zeros((inputs.shape[1], y.shape[1])), np.zeros(y.shape[1])
        for k, (label, own) in enumerate(zip(y.T, np.broadcast_to(penalty, y.shape[1]), strict=True)):
            if label.min() == label.max():
                bias[k] = -UNSEEN if label[0] else UNSEEN
                continue
            model = _logistic(inputs, label, weight, own, tolerance)
            coefficients[:, k], bias[k] = model.coef_[0], model.intercept_[0]
        return coefficients, bias

    def error(self, outputs: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(C,): cross-entropy."""
        return -(weight[:, None] * scipy.special.log_expit(np.where(y == 1, outputs, -outputs))).sum(0)


def _logistic(
    inputs: scipy.sparse.csr_matrix, y: np.ndarray, weight: np.ndarray, penalty: float, tolerance: float
) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / penalty, solver="newton-cg", tol=tolerance, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, y, sample_weight=weight)
