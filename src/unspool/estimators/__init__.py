"""Estimators with scikit-learn's contract: sequences in, one prediction a sequence out."""

from __future__ import annotations

from unspool.estimators.base import SequenceEstimator
from unspool.estimators.classifier import SequenceClassifier
from unspool.estimators.regressor import SequenceRegressor
from unspool.estimators.training import DivergenceError

__all__ = ["DivergenceError", "SequenceClassifier", "SequenceRegressor", "saved_classes"]


def saved_classes() -> dict[str, type[SequenceEstimator]]:
    """The classes that a saved model may be of, by name."""
    return {cls.__name__: cls for cls in (SequenceRegressor, SequenceClassifier)}
