"""Forecasts of one or many series: `Forecaster`, its baselines, intervals and measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unspool.forecasting.backtest import Backtest
from unspool.lazy import lazily

if TYPE_CHECKING:
    from unspool.forecasting.contract import Forecaster

__all__ = ["Backtest", "Forecaster"]

__getattr__ = lazily(__name__, {"Forecaster": "unspool.forecasting.contract"})
