"""`SequenceGenerator` with scikit-learn's contract, whose import commands do without (`unspool.saved.FITTED`)."""

from __future__ import annotations

from sklearn.base import BaseEstimator

from unspool import saved
from unspool.generation import estimator


@saved.register
class SequenceGenerator(BaseEstimator, estimator.SequenceGenerator):
    __doc__ = estimator.SequenceGenerator.__doc__
