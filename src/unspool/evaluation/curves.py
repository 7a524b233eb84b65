"""Learning curves of a fitted estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unspool.errors import DataError, check_fitted, described
from unspool.figures import save

TRAINING, VALIDATION = "#1f5fa8", "#c8553d"


def plot_learning_curves(
    path: str | Path, history: Any, best_epoch: int | None = None, title: str = ""
) -> None:
    """Loss and gradient norm over the epochs, to a file (.png, .svg, .pdf).

    history: a fitted estimator, or its `history_`. best_epoch: marked; of an estimator `best_epoch_`.
    The lower panel, where the history has gradient norms: mean and maximum over the batches, before clipping.
    """
    if hasattr(history, "get_params"):
        check_fitted(history, "history_")
        best_epoch = history.best_epoch_ if best_epoch is None else best_epoch
        history = history.history_
    if not isinstance(history, (list, tuple)) or not all(isinstance(epoch, Mapping) for epoch in history):
        raise DataError(f"history must be a fitted estimator, or its history_. Got {described(history)}.")
    epochs: Sequence[Mapping[str, float]] = history
    if not epochs:
        raise DataError("The history has no complete epoch to draw. Train for at least one.")
    with_norms = all("gradient_norm" in epoch for epoch in epochs)
    figure = Figure(figsize=(7.2, 5.6 if with_norms else 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [3, 1.4] if with_norms else [1]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    number = [epoch["epoch"] for epoch in epochs]
    style = {"marker": "o", "markersize": 3.5, "linewidth": 1.6}
    panels[0].plot(number, [e["train_loss"] for e in epochs], color=TRAINING, label="training", **style)
    if all("validation_loss" in epoch for epoch in epochs):
        losses = [e["validation_loss"] for e in epochs]
        panels[0].plot(number, losses, color=VALIDATION, label="validation", **style)
    panels[0].set_ylabel("loss")
    if with_norms:
        panels[1].plot(number, [e["gradient_norm"] for e in epochs], color="0.25", label="mean", **style)
        largest = [e["gradient_norm_max"] for e in epochs]
        panels[1].plot(number, largest, color="0.6", linestyle="--", label="maximum", **style)
        panels[1].set(ylabel="gradient norm", yscale="log")
        panels[1].legend(frameon=False, fontsize=8)
    if best_epoch in number:
        for axes in panels:
            axes.axvline(
                best_epoch, color="0.4", linewidth=0.9, linestyle=":", label=f"kept: epoch {best_epoch}"
            )
    panels[0].legend(frameon=False)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.suptitle(title, fontsize=11)
    save(figure, path)
