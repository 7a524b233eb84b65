"""Sequences to classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from unspool.estimators.base import SequenceEstimator
from unspool.saved import register
from unspool.tasks import Classification
from unspool.tasks.classification import class_numbers
from unspool.tasks.reading import read_labels


@register
class SequenceClassifier(ClassifierMixin, SequenceEstimator):
    """One of two or more classes for each sequence, by cross-entropy; labels of any one type, or one-hot rows.

    Parameters, attributes and kinds of X: see `SequenceEstimator`; also `classes_`, the labels, sorted.
    `predict(X)` gives labels (n,), `predict_proba(X)` float64 (n, classes) in the order of `classes_`;
    `score(X, y)` is the accuracy.
    """

    task = Classification
    task_: Classification

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Go once over X and y, from the weights as they are; returns self.

        classes: all labels that there will be; needed at the first call, of a model that is not fitted. That call
        learns vocabulary, scales and columns from its X, which later calls and words do not add to. Nothing is held
        back: there is no early stopping, no average of the weights and no schedule, the optimiser starts anew, and a
        linear part stays as it is. Raises as `fit`, and `InvalidParameterError` where parameters have changed the
        network's shape.
        """
        return self._partial_fit(X, y, classes, sample_weight)

    def predict_proba(self, X: Any) -> np.ndarray:
        """float64 (n, classes), rows adding up to 1, columns in the order of `classes_`."""
        outputs = self._outputs(X)
        return self.task_.probabilities(outputs)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy; y: labels (n,), or one-hot (n, C) where it was so in `fit`."""
        return super().score(X, class_numbers(read_labels(y, len(y))), sample_weight)

    @property
    def classes_(self) -> np.ndarray:
        """(C,): the labels, sorted."""
        return self.task_.classes
