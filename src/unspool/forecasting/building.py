"""A forecaster's parameters to its network, its loss and its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unspool.forecasting.losses import ForecastLoss
from unspool.forecasting.networks import ForecastNetwork, registry
from unspool.forecasting.windows import Block, Windows

if TYPE_CHECKING:
    from unspool.forecasting.forecaster import Forecaster


def some_windows(
    model: Forecaster, block: Block, of: np.ndarray, at: np.ndarray, sizes: np.ndarray, scales: np.ndarray
) -> Windows:
    """Of the block's series `of` (n,), at cut-offs `at` (n,), `sizes` (n,) steps long; scales (S,)."""
    kind = normalization_of(model)
    return Windows(block, of, at, sizes, model.horizon, kind, scales, model.season_)


def normalization_of(model: Forecaster) -> str:
    """What is taken off each window: `normalization`, or what None stands for."""
    return model.normalization or ("none" if model.loss == "negative_binomial" else "last")


def loss_of(model: Forecaster) -> ForecastLoss:
    """The loss, which also reads the network's outputs."""
    return ForecastLoss(model.loss, model.quantiles)


def build_network(model: Forecaster) -> ForecastNetwork:
    """A new network, its weights drawn by torch's generator."""
    loss = loss_of(model)
    beside: dict[str, Any] = {}
    if model.model == "segments":
        beside = {"segment": model.segment_length_}
    elif model.model == "recurrent":
        beside = {"point": loss.point}
    known = len(model.future) + 2 * len(model.preparation_.features)
    made: Any = registry[model.model]
    return made(
        cell=model.cell,
        hidden_size=model.hidden_size,
        num_layers=model.num_layers,
        dropout=model.dropout,
        precision=model.precision,
        features=2 + len(model.past) + known,
        known=known,
        static=model.preparation_.static_width,
        horizon=model.horizon,
        outputs=loss.outputs,
        **beside,
    )
