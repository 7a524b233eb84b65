"""Estimators with scikit-learn's contract: sequences in, one prediction a sequence out."""

from __future__ import annotations

from unspool.errors import check_choice
from unspool.estimators.base import SequenceEstimator
from unspool.estimators.classifier import SequenceClassifier
from unspool.estimators.regressor import SequenceRegressor
from unspool.saved import load
from unspool.training import DivergenceError

__all__ = [
    "DivergenceError",
    "SequenceClassifier",
    "SequenceEstimator",
    "SequenceRegressor",
    "for_task",
    "load",
]

#: Name of a task -> its estimator.
registry: dict[str, type[SequenceEstimator]] = {
    task.name: estimator
    for estimator in (SequenceRegressor, SequenceClassifier)
    for task in (estimator.task, *estimator.other_tasks)
}


def for_task(name: str) -> type[SequenceEstimator]:
    """The estimator of a task in `unspool.tasks.registry`; `InvalidParameterError` for another name."""
    return registry[check_choice("for_task", "name", name, registry)]
