"""`Forecaster` with scikit-learn's contract, whose import commands do without (`unspool.saved.FITTED`)."""

from __future__ import annotations

from sklearn.base import BaseEstimator

from unspool import saved
from unspool.forecasting import forecaster


@saved.register
class Forecaster(BaseEstimator, forecaster.Forecaster):
    __doc__ = forecaster.Forecaster.__doc__
