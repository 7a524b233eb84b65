"""Sequences to numbers."""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from unspool.errors import DataError
from unspool.estimators import fitted
from unspool.estimators.base import SequenceEstimator
from unspool.saved import register
from unspool.tasks import Count, Positive, Regression, Task
from unspool.tasks.reading import read_weights


@register
class SequenceRegressor(RegressorMixin, SequenceEstimator, fitted.SequenceRegressor):
    """One or several numbers for each sequence, by least squares on the standardised target; counts or numbers above 0
    by a likelihood whose mean is an exponential (`loss`).

    Parameters, attributes and kinds of X: see `SequenceEstimator`; also `target_mean_` and `target_scale_` (K,), of
    the training part. `predict(X)` gives float64 (n,), or (n, K) where y had K columns; `score(X, y)` is R2.
    """

    def kind_of(self, y: Any) -> type[Task]:
        return next((kind for kind in (Count, Positive) if self.loss in kind.losses), Regression)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Go once over X and y, from the weights as they are; returns self.

        The first call, of a model that is not fitted, learns vocabulary, scales and columns from its X, which
        later calls and words do not add to. Nothing is held back: there is no early stopping, no average of the
        weights and no schedule, the optimiser starts anew, and a linear part stays as it is. Raises as `fit`, and
        `InvalidParameterError` where parameters have changed the network's shape.
        """
        return self._partial_fit(X, y, None, sample_weight)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2, of several targets their mean; y: as in `fit`."""
        from sklearn.metrics import r2_score

        predicted = self.predict(X)
        numbers, weights = (
            self.task_.read(y, len(predicted), learn=False),
            read_weights(sample_weight, len(predicted)),
        )
        if numbers.size != predicted.size:
            raise DataError(
                f"y must have the shape of the predictions, {predicted.shape}. Got {numbers.shape}."
            )
        return float(r2_score(numbers.reshape(predicted.shape), predicted, sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
