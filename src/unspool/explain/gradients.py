"""How much of a loss's gradient reaches back over time: vanishing and exploding gradients, measured.

Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013 (arXiv:1211.5063).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from unspool import cells as registry
from unspool.errors import DataError, bad_parameter, check_choice, check_int
from unspool.explain.locate import sequences
from unspool.figures import save
from unspool.ragged import Ragged
from unspool.state import flatten, unflatten

SMALLEST = 1e-20  # on the axis


@dataclass(frozen=True)
class GradientFlow:
    """norms: for each cell (seeds, T), at index k the norm k steps before the last; `of`: "state" or "input"."""

    norms: dict[str, np.ndarray]
    of: str

    def rate(self, name: str) -> float:
        """The factor a step, over all distances: (norm at the largest / norm at 1) ** (1 / steps), median of seeds.

        Below 1 the gradient vanishes, above 1 it explodes.
        """
        rows = self.norms[check_choice("rate", "name", name, self.norms)]
        if rows.shape[1] < 3:
            raise DataError(f"A rate needs three steps or more. Got {rows.shape[1]}.")
        return float(np.median((rows[:, -1] / rows[:, 1]) ** (1 / (rows.shape[1] - 2))))


def gradient_flow(
    cells: str | Sequence[Any] | Mapping[str, Any] = ("rnn", "gru", "lstm"),
    x: Tensor | Ragged | None = None,
    *,
    length: int = 100,
    input_size: int = 16,
    hidden_size: int = 64,
    batch_size: int = 16,
    seeds: int = 5,
    of: str = "state",
) -> GradientFlow:
    """The norm of d loss / d state (or input) k steps before the last one, for each cell on the same data.

    cells: names in `unspool.cells.names()`, classes or modules of cells; or a mapping from a name of your choice to
        such a name, to a callable (input_size, hidden_size) -> cell, or to a cell module, such as a trained one, used
        with the weights it has.
    x: the inputs, (B, T, F) or a Ragged of float (N, F), the same for every seed; None: `batch_size` sequences of
        `length` steps of N(0, 1) features, drawn anew for each seed. A sequence shorter than a distance does not
        count there.
    seeds: draws of initial weights, inputs and losses; draw s is the same for every cell.
    of: "state": all parts of the state after a step, together; "input": the input of the step.

    The loss is the last output in a random direction: w · h_T for each sequence, w uniform on the unit sphere. The
    norm is the root of the mean square over the sequences; `of="state"` at distance 0 it is 1 for every cell. The
    plain loop in the cell's own precision; cells made here are float32.

    Raises `InvalidParameterError` and `DataError`.
    """
    check_choice("gradient_flow", "of", of, ["state", "input"])
    cells = [cells] if isinstance(cells, str) else cells
    makers = dict(cells) if isinstance(cells, Mapping) else {_name(cell): cell for cell in cells}
    if not makers:
        bad_parameter("gradient_flow", "cells", "at least one cell", cells)
    given = None if x is None else sequences(x)
    if given is not None and (len(given) == 0 or int(given.lengths.max()) == 0):
        raise DataError("x holds no step. Give at least one sequence with a step in it.")
    sizes = {"length": length, "input_size": input_size, "hidden_size": hidden_size, "batch_size": batch_size}
    for name, size in sizes.items():
        check_int("gradient_flow", name, size)
    norms: dict[str, list[np.ndarray]] = {name: [] for name in makers}
    with torch.random.fork_rng(devices=[]):
        for seed in range(check_int("gradient_flow", "seeds", seeds)):
            torch.default_generator.manual_seed(seed)
            drawn = given
            if drawn is None:
                drawn = sequences(torch.randn(batch_size, length, input_size))
            for name, maker in makers.items():
                torch.default_generator.manual_seed(seed)
                cell = _make(maker, int(drawn.values.shape[1]), hidden_size)
                torch.default_generator.manual_seed(seed)
                norms[name].append(_norms(cell, drawn, of))
    return GradientFlow({name: np.stack(rows) for name, rows in norms.items()}, of)


def _name(cell: Any) -> str:
    if isinstance(cell, (str, type)):
        return cell if isinstance(cell, str) else cell.__name__
    if isinstance(cell, nn.Module):
        return type(cell).__name__
    expected = "names, classes or modules of cells, or a mapping to them from names of your choice"
    bad_parameter("gradient_flow", "cells", expected, cell)


def _make(maker: Any, input_size: int, hidden_size: int) -> Any:
    if isinstance(maker, nn.Module):
        own = getattr(maker, "input_size", input_size)
        if own != input_size:
            bad_parameter(
                "gradient_flow", "input_size", f"{own}, that of the {type(maker).__name__}", input_size
            )
        return maker
    make: Callable[..., Any] = registry.get(maker) if isinstance(maker, str) else maker
    return make(input_size, hidden_size)


def _norms(cell: Any, x: Ragged, of: str) -> np.ndarray:
    """(longest,): the root mean square over the sequences that are long enough."""
    squares = torch.zeros(int(x.lengths.max()), dtype=torch.float64)
    counts = torch.zeros_like(squares)
    for length in x.lengths.unique().tolist():
        if length:
            rows = x[(x.lengths == length).nonzero()[:, 0]]
            found = _squared_norms(cell, rows.values.reshape(len(rows), length, -1), of)
            squares[:length] += found.sum(0)
            counts[:length] += len(rows)
    return (squares / counts).sqrt().numpy()


def _squared_norms(cell: Any, x: Tensor, of: str) -> Tensor:
    """(B, T): at [b, k] the squared norm k steps before the last; x (B, T, F)."""
    like = next((p for p in cell.parameters()), x)
    inputs = [step.detach().to(like).requires_grad_() for step in x.unbind(1)]
    state = cell.initial_state(len(x))
    kept: list[list[Tensor]] = []
    with torch.enable_grad():
        for step in inputs:
            # Copies: the gradient of a copy counts what comes after the step, not what the step itself reuses.
            leaves = [leaf.clone() for leaf in flatten(cell(step, state))]
            kept.append([leaf if leaf.requires_grad else leaf.requires_grad_() for leaf in leaves])
            state = unflatten(state, leaves)
        last = kept[-1][0]
        direction = torch.randn_like(last)
        loss = (last * direction / direction.norm(dim=1, keepdim=True)).sum()
        wanted = [leaf for leaves in kept for leaf in leaves] if of == "state" else inputs
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    each = [torch.zeros(len(x), dtype=torch.float64) for _ in inputs]
    parts = len(wanted) // len(inputs)
    for k, gradient in enumerate(gradients):
        if gradient is not None:
            each[k // parts] += gradient.double().square().sum(1).cpu()
    return torch.stack(each[::-1], dim=1)


def plot_gradient_flow(path: str | Path, flow: GradientFlow, title: str = "") -> None:
    """The norms over the distance in time on a logarithmic axis: median of the seeds, and their range as a band."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, rows in flow.norms.items():
        shown = np.where(rows < SMALLEST, np.nan, rows)
        distance = np.arange(rows.shape[1])
        (line,) = axes.plot(
            distance, np.median(shown, axis=0), linewidth=1.8, label=name
        )  # a gap where it is 0
        axes.fill_between(
            distance, shown.min(axis=0), shown.max(axis=0), color=line.get_color(), alpha=0.18, linewidth=0
        )
    axes.axhline(1.0, color="0.5", linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    axes.set(xlabel="steps before the last", ylabel=f"norm of the gradient of the {flow.of}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0)
    axes.set_title(title or "How far back a loss at the last step reaches", fontsize=11)
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.legend(frameon=False)
    save(figure, path)
