"""Sequences to classes."""

from __future__ import annotations

from typing import Any

from sklearn.base import ClassifierMixin

from unspool.errors import DataError
from unspool.estimators import fitted
from unspool.estimators.base import SequenceEstimator
from unspool.saved import register
from unspool.tasks import Classification, MultiLabel, Ordinal, Task
from unspool.tasks.classification import class_labels, several_labels
from unspool.tasks.reading import read_labels, read_weights


@register
class SequenceClassifier(ClassifierMixin, SequenceEstimator, fitted.SequenceClassifier):
    """One of two or more classes for each sequence, by cross-entropy; labels of any one type, or one-hot rows. Or any
    number of labels for each: y (n, C) of 0 and 1, where a row may have no 1 or several.

    Parameters, attributes and kinds of X: see `SequenceEstimator`; also `classes_`, the labels, sorted.
    `predict(X)` gives labels (n,), `predict_proba(X)` float64 (n, classes) in the order of `classes_`;
    `score(X, y)` is the accuracy.

    Of several labels, `classes_` are the columns' names of a DataFrame y, else 0, 1, ... `predict` gives 0 or 1 (n, C),
    by a threshold for each label, of largest F1 on the held-back rows (`task_.thresholds`; 0.5 where there are none),
    `predict_proba` each label's own probability, and `score` is the share of rows with every label right.

    With `order` classes have an order, which `classes_` is in; `predict` then gives the median of the probabilities.
    """

    def kind_of(self, y: Any) -> type[Task]:
        if self.order is not None:
            return Ordinal
        several = self.multilabel if self.multilabel is not None else several_labels(y)
        return MultiLabel if several else Classification

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Go once over X and y, from the weights as they are; returns self.

        classes: all labels that there will be; needed at the first call, of a model that is not fitted. That call
        learns vocabulary, scales and columns from its X, which later calls and words do not add to. Nothing is held
        back: there is no early stopping, no average of the weights and no schedule, the optimiser starts anew, and a
        linear part stays as it is. Raises as `fit`, and `InvalidParameterError` where parameters have changed the
        network's shape.
        """
        return self._partial_fit(X, y, classes, sample_weight)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy; y: as in `fit`."""
        from sklearn.metrics import accuracy_score

        predicted = self.predict(X)
        weights = read_weights(sample_weight, len(predicted))
        if isinstance(self.task_, MultiLabel):
            labels = self.task_.read(y, len(predicted), learn=False)
        else:
            labels = class_labels(read_labels(y, len(predicted)))
            if isinstance(labels[0], str) != isinstance(self.classes_[0], str):
                raise DataError(
                    f"y must be labels as those of the fit, such as {self.classes_.tolist()[0]!r}. "
                    f"Got {labels.tolist()[0]!r}."
                )
        return float(accuracy_score(labels, predicted, sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
