"""Predicted against true, as a PNG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from unspool.evaluation.metrics import Metrics, shown
from unspool.figures import save

PANEL = 4.6  # inches


def drawable(text: object) -> str:
    """One line that the font can draw: a character that it lacks as its code, and no `$` that begins a formula."""
    known = get_font(findfont(FontProperties())).get_charmap()
    line = " ".join(str(text).split())
    shown = (c if ord(c) in known else c.encode("ascii", "backslashreplace").decode() for c in line)
    return "".join(shown).replace("$", r"\$")


def plot_regression(
    path: str | Path,
    true: np.ndarray,
    predicted: np.ndarray,
    targets: Sequence[str],
    metrics: Sequence[Metrics],
) -> None:
    """A scatter with the identity line for each target.

    true, predicted: (B, K). targets: K names. metrics: K results of `regression_metrics`.
    """
    figure = Figure(figsize=(PANEL * len(targets), PANEL), layout="constrained")
    FigureCanvasAgg(figure)
    for k, (name, result) in enumerate(zip(targets, metrics, strict=True)):
        axes = figure.add_subplot(1, len(targets), k + 1)
        values = np.concatenate([true[:, k], predicted[:, k]])
        margin = 0.03 * (values.max() - values.min() or 1.0)
        low, high = values.min() - margin, values.max() + margin
        axes.plot([low, high], [low, high], color="0.5", linewidth=1, label="predicted = true")
        opacity = float(np.clip(30 / np.sqrt(len(true)), 0.15, 0.8))
        axes.scatter(true[:, k], predicted[:, k], s=9, alpha=opacity, linewidths=0, color="#1f5fa8")
        axes.set(
            xlim=(low, high),
            ylim=(low, high),
            aspect="equal",
            xlabel=f"true {drawable(name)}",
            ylabel=f"predicted {drawable(name)}",
        )
        axes.set_title(f"{len(true)} test rows: r {shown(result['pearson_r'])}, RMSE {shown(result['rmse'])}")
        axes.legend(loc="upper left", frameon=False)
    save(figure, path)


def plot_labels(path: str | Path, true: np.ndarray, predicted: np.ndarray, labels: Sequence[object]) -> None:
    """A bar a label: how many rows have it and were given it, have it and were not, were given it without.

    true, predicted: (B, C) of 0 and 1. labels: C names.
    """
    parts = {
        "right": (true == 1) & (predicted == 1),
        "missed": (true == 1) & (predicted == 0),
        "wrongly given": (true == 0) & (predicted == 1),
    }
    figure = Figure(figsize=(PANEL * 1.4, max(PANEL, 0.3 * len(labels) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places, left = np.arange(len(labels)), np.zeros(len(labels))
    for (name, rows), colour in zip(parts.items(), ("#1f5fa8", "#9dbfe0", "#d08a3c"), strict=True):
        axes.barh(places, rows.sum(0), left=left, label=name, color=colour)
        left += rows.sum(0)
    axes.set_yticks(places, [drawable(label) for label in labels])
    axes.invert_yaxis()
    axes.set(xlabel="test rows", title=f"{len(true)} test rows")
    axes.legend(frameon=False)
    save(figure, path)


def plot_confusion(
    path: str | Path, true: np.ndarray, predicted: np.ndarray, classes: Sequence[object]
) -> None:
    """Rows: true classes, columns: predicted ones; each cell its count, coloured by the share of its row.

    true, predicted: (B,) labels, all among `classes`.
    """
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(true, predicted, labels=list(classes))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(PANEL, 0.45 * len(classes) + 1.5)
    figure = Figure(figsize=(size, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    names = [drawable(label) for label in classes]
    axes.set_xticks(ticks, names, rotation=45 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{len(true)} test rows: accuracy {shown(float(np.mean(true == predicted)))}")
    if len(classes) <= 30:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    save(figure, path)
