"""The plots of a search: its course, which parameters mattered, and the score by each of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from unspool.evaluation.metrics import METRICS, shown
from unspool.evaluation.plots import drawable
from unspool.figures import save
from unspool.study.charts import COLOURS, GREY, INK, STYLE
from unspool.tuning.progress import value_text
from unspool.tuning.trials import COMPLETE, PRUNED

if TYPE_CHECKING:
    from unspool.tuning.result import Tried, Tuning

BLUE, ORANGE = COLOURS[:2]
ENOUGH = 10  # complete trials from which importances are told


def draw(result: Tuning, folder: Path) -> None:
    """search_history.png, search_slices.png and, of ten complete trials or more, search_importance.png."""
    figures = {"history": history(result), "slices": slices(result)}
    if (found := importances(result)) is not None:
        figures["importance"] = importance(found)
    for name, figure in figures.items():
        with matplotlib.rc_context(STYLE):
            FigureCanvasAgg(figure)
            save(figure, folder / f"search_{name}.png")


def _complete(result: Tuning) -> list[Tried]:
    return [t for t in result.trials if t.outcome.state == COMPLETE and not t.default]


def _score(result: Tuning, tried: Tried) -> float:
    value = tried.outcome.metrics[result.problem.metric]
    assert value is not None
    return value


def history(result: Tuning) -> Figure:
    """The score of each trial in its order, the best so far, the default as a line; trials that were given up at the
    lower edge."""
    metric, sign = result.problem.metric, result.problem.sign
    default = result.default.metrics[metric]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        complete = _complete(result)
        numbers, scores = [t.number for t in complete], [_score(result, t) for t in complete]
        axes.scatter(numbers, scores, s=26, color=BLUE, linewidths=0, zorder=3, label="trial")
        best = sign * np.maximum.accumulate(sign * np.array([default, *scores], float))
        axes.step(
            [0, *numbers], best, where="post", color=BLUE, linewidth=1.4, alpha=0.7, label="best so far"
        )
        axes.axhline(float(default or 0.0), color=ORANGE, linewidth=1.2, linestyle="--", label="default")
        for states, mark, label in (
            ((PRUNED,), "|", "given up by its curve"),
            (("cut", "failed"), "x", "cut or failed"),
        ):
            out = [t.number for t in result.trials if t.outcome.state in states]
            if out:
                across = axes.get_xaxis_transform()
                axes.scatter(
                    out, np.full(len(out), 0.02), marker=mark, color=GREY, transform=across, label=label
                )
        if result.chosen is not None:
            chosen = _score(result, result.chosen)
            axes.scatter([result.chosen.number], [chosen], s=130, facecolors="none", edgecolors=INK, zorder=4)
            axes.annotate(
                shown(chosen),
                (result.chosen.number, chosen),
                xytext=(0, 10),
                textcoords="offset points",
                ha="center",
            )
        axes.set(xlabel="trial", ylabel=f"{METRICS[metric][0]}, validation part")
        axes.margins(y=0.16)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper left", ncols=5, frameon=False)
    return figure


def importances(result: Tuning) -> dict[str, float] | None:
    """Shares of the variance of the score over the space that each parameter explains, by functional analysis of
    variance (Hutter et al. 2014), from complete trials; None where these are fewer than ten."""
    complete = _complete(result)
    if len(complete) < ENOUGH or len({_score(result, t) for t in complete}) < 2:
        return None
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    from unspool.tuning.storage import optuna

    study = optuna().create_study(direction="maximize")
    shapes = {axis.name: axis.distribution for axis in result.axes}
    for t in complete:
        place = {k: v for axis in result.axes for k, v in axis.drawn(t.settings[axis.name]).items()}
        score = result.problem.sign * _score(result, t)
        study.add_trial(create_trial(value=score, params=place, distributions=shapes))
    evaluator = FanovaImportanceEvaluator(seed=result.problem.random_state)
    return get_param_importances(study, evaluator=evaluator)


def importance(found: dict[str, float]) -> Figure:
    """A bar a parameter, the most important on top."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.32 * len(found) + 1.0), layout="constrained")
        axes = figure.add_subplot()
        names, values = list(found), list(found.values())
        axes.barh(range(len(names)), values, color=BLUE, height=0.62)
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:.2f}", va="center", fontsize=8.5)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max(values) * 1.12 or 1.0)
        axes.set_xlabel("share of the variance of the score in this search (functional ANOVA)")
    return figure


def slices(result: Tuning) -> Figure:
    """A panel a parameter: the score of each complete trial by its value, later ones darker; the default a diamond."""
    complete, axes_list = _complete(result), result.axes
    across = min(4, len(axes_list))
    down = -(-len(axes_list) // across)
    with matplotlib.rc_context(STYLE | {"font.size": 8.5}):
        figure = Figure(figsize=(9.2, 2.1 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
        for panel, axis in zip(panels, axes_list):
            labels = [drawable(value_text(c)) for c in axis.choices]
            values = [_place(axis, t.settings[axis.name]) for t in complete]
            scores = [_score(result, t) for t in complete]
            shade = [t.number for t in complete]
            panel.scatter(
                values, scores, c=shade, cmap="Blues", vmin=-max(shade, default=1), s=20, linewidths=0
            )
            default = result.default.metrics[result.problem.metric]
            own = next((t.settings for t in result.trials if t.default), {})
            if axis.name in own:
                panel.scatter(
                    [_place(axis, own[axis.name])], [default], marker="D", s=34, color=ORANGE, zorder=4
                )
            if result.chosen is not None:
                at = _place(axis, result.chosen.settings[axis.name])
                chosen = _score(result, result.chosen)
                panel.scatter([at], [chosen], s=90, facecolors="none", edgecolors=INK, zorder=4)
            if labels:
                panel.set_xticks(range(len(labels)), labels, rotation=25 if max(map(len, labels)) > 6 else 0)
                panel.set_xlim(-0.5, len(labels) - 0.5)
            elif axis.search.log:
                panel.set_xscale("log")
                panel.xaxis.set_major_locator(LogLocator(subs=_steps(values)))
                panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                panel.xaxis.set_minor_formatter(NullFormatter())
            elif axis.search.whole:
                panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_title(axis.name, loc="left")
            panel.grid(color="#eceef1", linewidth=0.7)
            panel.set_axisbelow(True)
        for panel in panels[len(axes_list) :]:
            panel.set_visible(False)
        figure.supylabel(f"{METRICS[result.problem.metric][0]}, validation part", fontsize=9)
        mark: dict[str, Any] = {"color": ORANGE, "marker": "D", "linewidth": 0, "markersize": 5}
        ring: dict[str, Any] = {
            "marker": "o",
            "markersize": 9,
            "markerfacecolor": "none",
            "color": INK,
            "linewidth": 0,
        }
        dot: dict[str, Any] = {"color": BLUE, "marker": "o", "linewidth": 0, "markersize": 5}
        handles = [
            Line2D([], [], **dot, label="trial, later ones darker"),
            Line2D([], [], **mark, label="default"),
            Line2D([], [], **ring, label="best on the validation part"),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
    return figure


def _steps(values: list[float]) -> tuple[float, ...]:
    """Where a logarithmic axis has numbers in each decade: fewer the more decades there are."""
    decades = np.log10(max(values) / min(values)) if values else 1.0
    return (1.0, 2.0, 5.0) if decades < 1.6 else (1.0,)


def _place(axis: Any, value: Any) -> float:
    """Where a value stands on the panel of its axis."""
    if not axis.choices:
        return float(value)
    label = axis.drawn(value).get(axis.name)
    return float(list(axis.choices).index(label)) if label in axis.choices else float("nan")
