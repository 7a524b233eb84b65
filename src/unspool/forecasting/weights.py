"""Weights of series or of rows in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unspool.errors import DataError
from unspool.forecasting.panel import Names, Panel, read_panel
from unspool.forecasting.windows import Windows
from unspool.tasks.reading import read_weights


def read_weighed(data: Any, sample_weight: Any, names: Names, freq: Any = None) -> Panel:
    """The series of `data`, with the weights that `Forecaster.fit` is given. names, freq: as of `read_panel`."""
    if sample_weight is None or isinstance(sample_weight, Mapping):
        panel = read_panel(data, names, freq)
        return panel if sample_weight is None else _by_series(panel, sample_weight)
    panel = read_panel(data, names, freq, row_weights=sample_weight)
    return panel if panel.weights is not None else _by_series(panel, sample_weight)


def _by_series(panel: Panel, sample_weight: Any) -> Panel:
    """With the weight of each series at all its steps; `DataError` for what names no series, or not each."""
    if len(panel) == 1:
        raise DataError("sample_weight weighs series against each other, and there is one series.")
    given = sample_weight
    if isinstance(sample_weight, Mapping):
        missing = [name for name in panel.ids if name not in sample_weight]
        strange = [name for name in sample_weight if name not in set(panel.ids)]
        if missing or strange:
            what = f"series {missing[0]!r} has no weight" if missing else f"{strange[0]!r} is no series"
            raise DataError(f"sample_weight must have one for each of the {len(panel)} series: {what}.")
        given = [sample_weight[name] for name in panel.ids]
    weights = np.asarray(read_weights(given, len(panel)))
    return replace(panel, weights=[np.full(count, w) for w, count in zip(weights, panel.counts)])


def weigh(windows: Windows | None, panel: Panel) -> None:
    """Give windows the weights (N,) of the steps of their block, of mean 1 over the steps that are forecast."""
    if windows is None or panel.weights is None:
        return
    weights, seen = np.concatenate(panel.weights), ~np.isnan(windows.block.y)
    sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (weights * seen, seen.astype(float))]
    total, count = (float((s[windows.ends + windows.horizon] - s[windows.ends]).sum()) for s in sums)
    if total == 0:
        raise DataError(
            "All steps to forecast in the training part, or in the held-back part, have sample_weight 0. Leave those "
            "rows out instead, or hold others back (validation_size)."
        )
    windows.weights = torch.from_numpy(weights * (count / total)).float()
