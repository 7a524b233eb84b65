"""Sequences to numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from unspool.estimators.base import SequenceEstimator
from unspool.saved import register
from unspool.tasks import Regression


@register
class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """One or several numbers for each sequence, by least squares on the standardised target.

    Parameters, attributes and kinds of X: see `SequenceEstimator`; also `target_mean_` and `target_scale_` (K,), of
    the training part. `predict(X)` gives float64 (n,), or (n, K) where y had K columns; `score(X, y)` is R2.
    """

    task = Regression
    task_: Regression

    @property
    def target_mean_(self) -> np.ndarray:
        """(K,): the means of the training targets."""
        return self.task_.mean

    @property
    def target_scale_(self) -> np.ndarray:
        """(K,): their standard deviations, 1 for a constant one."""
        return self.task_.scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
