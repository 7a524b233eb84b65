"""`SequenceTagger` with scikit-learn's contract, whose import commands do without (`unspool.saved.FITTED`)."""

from __future__ import annotations

from sklearn.base import BaseEstimator

from unspool import saved
from unspool.tagging import tagger


@saved.register
class SequenceTagger(BaseEstimator, tagger.SequenceTagger):
    __doc__ = tagger.SequenceTagger.__doc__
