"""What the gates and the state of a recurrent layer do over the tokens of one sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from unspool.errors import DataError
from unspool.evaluation.plots import drawable
from unspool.explain.locate import locate, one_sequence
from unspool.explain.step import read_step
from unspool.figures import save
from unspool.state import flatten

PANEL, TOKEN, NARROWEST, WIDEST = (
    1.3,
    0.3,
    5.0,
    18.0,
)  # inches: height of a panel; width of a token, of a figure
MOST_TOKENS = 60  # on the axis; of more, every second, third, ... is written


def activations(model: Any, x: Any, layer: int = 1, backward: bool = False) -> dict[str, np.ndarray]:
    """Every gate and every state part of a layer over one sequence: name -> (T, H) float64, row t for token t.

    model: a fitted estimator; a layer of `unspool.nn` (`LSTM`, `GRU`, `RNN`, `Recurrent`, `Stack`); or a cell.
    x: one sequence as the estimator takes it (a text, ids (T,), a series (T, F)); for a layer or a cell a tensor
        (T, F).
    layer: which recurrent layer, from 1.
    backward: of a bidirectional layer, the direction that reads from the end; its row t is what it has after
        reading tokens T, ..., t.

    Names are those of `unspool.study.equations`: the gates, then the parts of the state after the step. They are
    computed in float64 from the cell's program, in evaluation mode, from the layer's own initial state.

    Raises `DataError` for an empty sequence, `InvalidParameterError` for a layer or direction that the model has
    not, `EngineError` where the cell's step cannot be traced.
    """
    with torch.no_grad():
        found = locate(model, one_sequence(model, x), layer)
        direction, state = found.direction(backward)
        values = found.x.values.double()
        if len(values) == 0:
            raise DataError(
                "The sequence is empty: there is no step to look at. Give one with a token in it."
            )
        step = read_step(direction, values.shape[1])
        step = dataclasses.replace(step, sources={n: t.double() for n, t in step.sources.items()})
        parts = [leaf.double() for leaf in flatten(state)]
        rows: dict[str, list[Tensor]] = {name: [] for name in (*step.gates, *step.states)}
        for x_t in values.flip(0) if direction.reverse else values:
            gates, parts = step.run(x_t[None], parts)
            for name, row in (*gates.items(), *zip(step.states, parts)):
                rows[name].append(row[0])
    back = -1 if direction.reverse else 1
    return {name: torch.stack(row[::back]).numpy() for name, row in rows.items()}


def plot_activations(
    path: str | Path,
    activations: Mapping[str, np.ndarray],
    tokens: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """A heat map of units (down) over tokens (across) for each gate and state part, to a file (.png, .svg, .pdf).

    activations: name -> (T, H), as `activations` gives them. tokens: T names for the axis; None: their numbers.
    Values within [0, 1], such as a sigmoid's, go from white to dark blue; others from blue (negative) over white
    to red, up to 1 or the largest that there is.
    """
    if not activations:
        raise DataError("activations holds nothing to draw. Give what `activations` gave.")
    steps = len(next(iter(activations.values())))
    if tokens is not None and len(tokens) != steps:
        raise DataError(f"There must be one token for each of the {steps} steps. Got {len(tokens)}.")
    width = float(np.clip(2.0 + TOKEN * steps, NARROWEST, WIDEST))
    figure = Figure(figsize=(width, 0.9 + PANEL * len(activations)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(activations), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, activations.items()):
        share = values.min() >= 0 and values.max() <= 1
        largest = 1.0 if share else max(1.0, float(np.abs(values).max()))
        image = axes.imshow(
            values.T,
            aspect="auto",
            interpolation="nearest",
            cmap="Blues" if share else "RdBu_r",
            vmin=0.0 if share else -largest,
            vmax=largest,
        )
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        axes.set_yticks([0, values.shape[1] - 1] if values.shape[1] > 1 else [0])
        axes.tick_params(labelsize=8)
        figure.colorbar(image, ax=axes, pad=0.01, aspect=12).ax.tick_params(labelsize=7)
    every = range(0, steps, -(-steps // MOST_TOKENS))
    names = [str(k + 1) for k in range(steps)] if tokens is None else [_shown(token) for token in tokens]
    slanted = max(len(names[k]) for k in every) > 2
    panels[-1].set_xticks(
        list(every),
        [names[k] for k in every],
        rotation=60 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor" if slanted else "default",
    )
    figure.suptitle(title, fontsize=11)
    figure.supylabel("unit", fontsize=9)
    save(figure, path)


def _shown(token: str) -> str:
    """A space as an open box; otherwise as `drawable`."""
    return drawable(token.replace(" ", "␣"))
