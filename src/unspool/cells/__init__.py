"""The cells: one file each, one step each. A new cell is one file and one line in `registry`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unspool.cells.base import Cell
from unspool.cells.gru import GRUCell
from unspool.cells.lstm import LSTMCell
from unspool.cells.rnn import RNNCell
from unspool.errors import check_choice

registry: dict[str, Callable[..., nn.Module]] = {
    "rnn": RNNCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}

__all__ = ["Cell", "GRUCell", "LSTMCell", "RNNCell", "get", "names", "registry"]


def names() -> list[str]:
    """The names of the registered cells, simplest first."""
    return list(registry)


def get(name: str) -> Callable[..., nn.Module]:
    """The class of the cell `name`; `InvalidParameterError` for an unknown name."""
    return registry[check_choice("unspool.cells.get", "name", name, registry)]
