"""Forecasts of one or many series: `Forecaster`, its baselines, intervals and measures."""

from __future__ import annotations

from unspool.forecasting.backtest import Backtest
from unspool.forecasting.forecaster import Forecaster
from unspool.saved import register

__all__ = ["Backtest", "Forecaster"]

register(Forecaster)
