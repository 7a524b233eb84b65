"""`Seq2Seq` with scikit-learn's contract, whose import commands do without (`unspool.saved.FITTED`)."""

from __future__ import annotations

from sklearn.base import BaseEstimator

from unspool import saved
from unspool.seq2seq import estimator


@saved.register
class Seq2Seq(BaseEstimator, estimator.Seq2Seq):
    __doc__ = estimator.Seq2Seq.__doc__
