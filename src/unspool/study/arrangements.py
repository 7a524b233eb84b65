"""Arrangements: a cell, a pooling and a layout, by name: "lstm/last/stacked"."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from unspool import cells
from unspool.encode import IdInput, Raw, SeriesInput
from unspool.errors import bad_parameter, check_choice
from unspool.estimators import SequenceEstimator
from unspool.estimators.network import count_parameters
from unspool.heads.pooling import pooling_names

#: Layout -> the estimator's settings.
LAYOUTS: dict[str, dict[str, Any]] = {
    "one": {"num_layers": 1, "bidirectional": False},
    "stacked": {"num_layers": 2, "bidirectional": False},
    "bidirectional": {"num_layers": 1, "bidirectional": True},
    "stacked-bidirectional": {"num_layers": 2, "bidirectional": True},
}
#: {LSTM, GRU} x {last state, pooling over all states} x {one layer, two stacked, bidirectional}.
TWELVE = tuple(
    f"{cell}/{pooling}/{layout}"
    for cell in ("lstm", "gru")
    for pooling in ("last", "max")
    for layout in ("one", "stacked", "bidirectional")
)


@dataclass(frozen=True)
class Arrangement:
    """cell: a name in `unspool.cells.names()`; pooling: as `unspool.heads.Pooling`; layout: in `LAYOUTS`."""

    cell: str
    pooling: str
    layout: str

    def __post_init__(self) -> None:
        check_choice("compare", "cells", self.cell, cells.names())
        pooling_names(self.pooling)
        check_choice("compare", "layouts", self.layout, LAYOUTS)

    @property
    def name(self) -> str:
        """ "cell/pooling/layout"."""
        return f"{self.cell}/{self.pooling}/{self.layout}"

    @classmethod
    def parse(cls, name: str) -> Arrangement:
        """Of a name "cell/pooling/layout"; `InvalidParameterError` for anything else."""
        parts = str(name).split("/")
        if len(parts) != 3:
            bad_parameter("compare", "arrangements", "names such as 'lstm/last/stacked', or 'twelve'", name)
        return cls(*parts)

    def settings(self) -> dict[str, Any]:
        """The estimator's parameters that make this arrangement."""
        return {"cell": self.cell, "pooling": self.pooling, **LAYOUTS[self.layout]}


def choose_arrangements(
    arrangements: str | Sequence[str] | None,
    cell_names: Sequence[str],
    poolings: Sequence[str],
    layouts: Sequence[str],
) -> list[Arrangement]:
    """The arrangements named, "twelve", or with None the whole grid; each once, in the order given."""
    if arrangements is None:
        for name, values in (("cells", cell_names), ("poolings", poolings), ("layouts", layouts)):
            if isinstance(values, str) or not len(values):
                bad_parameter("compare", name, "a list of one or more names", values)
        chosen = [Arrangement(c, p, y) for c in cell_names for p in poolings for y in layouts]
    else:
        names = TWELVE if arrangements == "twelve" else arrangements
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            bad_parameter("compare", "arrangements", "one or more names, or 'twelve'", arrangements)
        chosen = [Arrangement.parse(name) for name in names]
    return list(dict.fromkeys(chosen))


def blank(estimator: SequenceEstimator, X: Raw, y: np.ndarray) -> SequenceEstimator:
    """A copy of `estimator` that knows the width of its input and of y, enough to count parameters."""
    model = clone(estimator)
    features = X.data.values.shape[1] if X.kind == "series" else 0
    model.input_ = SeriesInput([0.0] * features, [1.0] * features) if features else IdInput(1)
    model.task_ = model.task()
    model.task_.fit(model.task_.read(y, len(y), learn=True))
    return model


def recurrent_parameters(model: SequenceEstimator, **settings: Any) -> int:
    """Trainable numbers in the recurrent layers of `model` (of `blank`) with `settings`."""
    with torch.device("meta"):
        network = copy.copy(model).set_params(**settings)._build_network()
    return count_parameters(network.stack)


def equal_width(model: SequenceEstimator, settings: dict[str, Any], target: int) -> int:
    """The hidden size whose recurrent layers have the number of parameters nearest to `target`.

    The number grows with the hidden size, so the search halves an interval: about 2 log2(width) trials.
    """

    def count(width: int) -> int:
        return recurrent_parameters(model, **settings, hidden_size=width)

    high = 1
    while count(high) < target:
        high *= 2
    low = max(1, high // 2)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    return min((low, high), key=lambda width: abs(count(width) - target))
