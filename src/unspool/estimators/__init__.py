"""Estimators with scikit-learn's contract: sequences in, one prediction a sequence out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.errors import check_choice
from unspool.lazy import lazily
from unspool.saved import load
from unspool.training import DivergenceError

if TYPE_CHECKING:
    from unspool.estimators.base import SequenceEstimator
    from unspool.estimators.classifier import SequenceClassifier
    from unspool.estimators.regressor import SequenceRegressor

__all__ = [
    "DivergenceError",
    "SequenceClassifier",
    "SequenceEstimator",
    "SequenceRegressor",
    "for_task",
    "load",
]

__getattr__ = lazily(
    __name__,
    {
        "SequenceEstimator": "unspool.estimators.base",
        "SequenceRegressor": "unspool.estimators.regressor",
        "SequenceClassifier": "unspool.estimators.classifier",
    },
)


def for_task(name: str) -> type[SequenceEstimator]:
    """The estimator of a task in `unspool.tasks.registry`; `InvalidParameterError` for another name."""
    from unspool.estimators.classifier import SequenceClassifier
    from unspool.estimators.regressor import SequenceRegressor

    registry: dict[str, type[SequenceEstimator]] = {
        task.name: estimator
        for estimator in (SequenceRegressor, SequenceClassifier)
        for task in (estimator.task, *estimator.other_tasks)
    }
    return registry[check_choice("for_task", "name", name, registry)]
