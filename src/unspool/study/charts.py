"""The figures of a study's report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from unspool.evaluation.metrics import METRICS
from unspool.study.layout import compact, number
from unspool.study.results import BaselineRow, Results, Row
from unspool.study.verdict import listed

# Okabe & Ito's colours, legible to colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6d31", "#555555")
MARKERS = {"one": "o", "stacked": "s", "bidirectional": "D", "stacked-bidirectional": "^"}
GREY, INK = "#8a8f98", "#1d2733"
PLAIN = ("mean", "majority")  # baselines that are not drawn
DIAMOND: dict[str, Any] = {
    "s": 30,
    "marker": "D",
    "zorder": 4,
    "linewidths": 1.1,
    "facecolors": "white",
    "edgecolors": INK,
}
CURVES = 12  # panels at most
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "xtick.color": "#4a5361",
    "ytick.color": INK,
    "text.color": INK,
    "svg.hashsalt": "unspool",
}


def svg(figure: Figure) -> str:
    """The figure as an SVG document, without the date, so that the same study gives the same bytes."""
    with matplotlib.rc_context(STYLE):
        FigureCanvasSVG(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def scored(result: Results) -> list[Row]:
    """The rows that have a score, the best first."""
    return [row for row in result.rows if row.score is not None]


def drawn_baselines(result: Results) -> list[BaselineRow]:
    """The baselines but the mean and the majority, which are far off."""
    return [b for b in result.baselines if b.name not in PLAIN]


def colours(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each cell."""
    cells = list(dict.fromkeys(row.entry.arrangement.cell for row in rows))
    return {cell: COLOURS[i % len(COLOURS)] for i, cell in enumerate(cells)}


def intervals(result: Results) -> Figure:
    """A line an arrangement: each run a light dot, mean and 95 % interval; the test mean a hollow diamond.

    Below, the baselines, with a dotted line upwards from their score on each part.
    """
    rows, others = scored(result), drawn_baselines(result)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 0.29 * (len(rows) + len(others)) + 1.5), layout="constrained")
        axes = figure.add_subplot()
        shade, (least, most) = colours(rows), view(result)
        for place, row in enumerate(rows):
            assert row.score is not None
            if not least <= row.score.mean <= most:
                _far_off(axes, place, row.score.mean, row.score.mean > most)
                continue
            colour = GREY if row.status == "dropped" else shade[row.entry.arrangement.cell]
            cells = result.places if row.status != "dropped" else sorted(row.entry.runs)
            runs = row.entry.scores(result.metric, cells)
            if row.score.low is not None and row.score.high is not None:
                span = [row.score.low, row.score.high]
                axes.plot(span, [place, place], color=colour, linewidth=5, alpha=0.25, solid_capstyle="butt")
            axes.scatter(runs, np.full(len(runs), place), s=11, color=colour, zorder=2, linewidths=0)
            axes.scatter([row.score.mean], [place], s=52, color=colour, zorder=3, edgecolors="white")
            if row.test is not None:
                axes.scatter([row.test.mean], [place], **DIAMOND)
        for place, baseline in enumerate(others, len(rows)):
            marks = [(baseline.score, {"s": 52, "color": INK, "zorder": 3, "edgecolors": "white"})]
            for value, mark in [*marks, (baseline.test, DIAMOND)]:
                if value is not None:
                    axes.scatter([value], [place], **mark)
                    axes.axvline(value, color=INK, linewidth=0.9, linestyle=":", zorder=0)
        names = [*(_label(row) for row in rows), *(baseline.name for baseline in others)]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, least), min(high, most))
        axes.set_xlabel(METRICS[result.metric][0])
        figure.legend(handles=_interval_legend(rows), loc="outside upper left", ncols=4, frameon=False)
    return figure


def _far_off(axes: Any, place: int, mean: float, right: bool) -> None:
    """The mean as a number with an arrow, at the edge of the view."""
    text, x, side = (f"{number(mean)} →", 0.99, "right") if right else (f"← {number(mean)}", 0.01, "left")
    axes.text(x, place, text, ha=side, va="center", color=GREY, transform=axes.get_yaxis_transform())


def _label(row: Row) -> str:
    return f"{row.name} (dropped)" if row.status == "dropped" else row.name


def view(result: Results) -> tuple[float, float]:
    """The scores to look at: of the runs that count, their test means and the baselines, with a margin.

    An interval of two runs may be twenty times as wide. A dropped arrangement widens the view at most threefold.
    """
    kept = [v for e in result.racing for v in e.scores(result.metric, result.places)]
    kept += [row.test.mean for row in scored(result) if row.test and row.status != "dropped"]
    kept += [v for b in drawn_baselines(result) for v in (b.score, b.test) if v is not None]
    low, high = min(kept), max(kept)
    span = high - low
    for row in scored(result):
        values = row.entry.scores(result.metric, sorted(row.entry.runs))
        if row.status == "dropped" and low - span <= values.min() and values.max() <= high + span:
            kept += values.tolist()
    margin = 0.12 * (max(kept) - min(kept)) or 0.1
    return min(kept) - margin, max(kept) + margin


def _interval_legend(rows: Sequence[Row]) -> list[Line2D]:
    mark: dict[str, Any] = {"color": GREY, "marker": "o", "linewidth": 0}
    handles = [
        Line2D([], [], **mark, markersize=7, label="validation: mean"),
        Line2D([], [], color=GREY, linewidth=5, alpha=0.35, label="its 95 % interval"),
        Line2D([], [], **mark, markersize=3.5, label="validation: a run"),
    ]
    if any(row.test for row in rows):
        handles.append(
            Line2D([], [], color="white", marker="D", markersize=5, markeredgecolor=INK, label="test: mean")
        )
    return handles


def curves(result: Results) -> Figure | None:
    """Losses against epochs, a panel for each of the best arrangements; None where no run has two epochs."""
    rows = scored(result)[:CURVES]
    histories = [[run.history for run in row.entry.runs.values()] for row in rows]
    if max(len(h) for runs in histories for h in runs) < 2:
        return None
    across = min(4, len(rows))
    down = -(-len(rows) // across)
    key = "validation_loss" if "validation_loss" in histories[0][0][0] else "train_loss"
    shade = colours(scored(result))
    with matplotlib.rc_context(STYLE | {"font.size": 8, "axes.titlesize": 8.5}):
        figure = Figure(figsize=(9.2, 1.75 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, row, runs in zip(panels, rows, histories):
            colour = shade[row.entry.arrangement.cell]
            for history in runs:
                epochs = [epoch["epoch"] for epoch in history]
                if key != "train_loss":
                    train = [epoch["train_loss"] for epoch in history]
                    axes.plot(epochs, train, color=GREY, linewidth=0.8, alpha=0.7)
                values = [epoch[key] for epoch in history]
                axes.plot(epochs, values, color=colour, linewidth=1.2, alpha=0.8)
                best = int(np.argmin(values)) if key != "train_loss" else len(values) - 1
                axes.scatter([epochs[best]], [values[best]], s=12, color=colour, zorder=3)
            axes.set_title(row.name, loc="left")
            axes.grid(color="#eceef1", linewidth=0.7)
            axes.set_axisbelow(True)
            axes.xaxis.get_major_locator().set_params(integer=True)
        for axes in panels[len(rows) :]:
            axes.set_visible(False)
        losses = [epoch[k] for runs in histories for h in runs for epoch in h for k in {key, "train_loss"}]
        if min(losses) > 0 and max(losses) > 20 * min(losses):
            panels[0].set_yscale("log")
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("loss", fontsize=9)
    return figure


def costs(result: Results) -> Figure:
    """The mean score against training time and against the number of parameters; of those in `view`."""
    everything, (low, high) = scored(result), view(result)
    rows = [row for row in everything if row.score is not None and low <= row.score.mean <= high]
    shade = colours(everything)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.9), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, name, label in zip(
            panels, ("train_seconds", "parameters"), ("training, seconds a run", "trainable parameters")
        ):
            for row in rows:
                arrangement = row.entry.arrangement
                assert row.score is not None
                axes.scatter(
                    [row.median(name)],
                    [row.score.mean],
                    color=shade[arrangement.cell],
                    marker=MARKERS.get(arrangement.layout, "o"),
                    s=38,
                    alpha=0.35 if row.status == "dropped" else 0.9,
                    linewidths=0,
                )
            best = rows[0]
            assert best.score is not None
            axes.scatter(
                [best.median(name)],
                [best.score.mean],
                s=130,
                facecolors="none",
                edgecolors=INK,
                linewidths=1.2,
            )
            values = [row.median(name) for row in rows]
            if min(values) > 0 and max(values) > 5 * min(values):
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value, 4)))
            axes.set_xlabel(label)
            axes.grid(color="#e3e6ea", linewidth=0.8)
            axes.set_axisbelow(True)
        panels[0].set_ylabel(METRICS[result.metric][0])
        if len(rows) < len(everything):
            out = listed([row.name for row in everything if row not in rows], 2)
            panels[1].set_title(f"Far off, not shown: {out}", loc="right", fontsize=8.5, color=GREY)
        used = [layout for layout in MARKERS if any(r.entry.arrangement.layout == layout for r in rows)]
        handles = [Line2D([], [], marker="o", color=c, linewidth=0, label=cell) for cell, c in shade.items()]
        handles += [Line2D([], [], marker=MARKERS[y], color=GREY, linewidth=0, label=y) for y in used]
        ring = Line2D([], [], marker="o", markersize=11, markerfacecolor="none", color=INK, linewidth=0)
        ring.set_label(f"best, {number(rows[0].score.mean if rows[0].score else None)}")
        figure.legend(handles=[*handles, ring], loc="outside upper left", ncols=6, frameon=False)
    return figure
