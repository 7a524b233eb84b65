"""The cells: one file each, one step each. A new cell is one file and one line in `registry`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unspool.cells.activations import ACTIVATIONS
from unspool.cells.base import Cell
from unspool.cells.cfc import CfCCell
from unspool.cells.coupled_lstm import CoupledLSTMCell
from unspool.cells.gru import GRUCell
from unspool.cells.gru_d import GRUDCell
from unspool.cells.ind_rnn import IndRNNCell
from unspool.cells.layer_norm_gru import LayerNormGRUCell
from unspool.cells.layer_norm_lstm import LayerNormLSTMCell
from unspool.cells.layer_norm_rnn import LayerNormRNNCell
from unspool.cells.leaky_rnn import LeakyRNNCell
from unspool.cells.lstm import LSTMCell
from unspool.cells.mgu import MGUCell
from unspool.cells.min_gru import MinGRUCell
from unspool.cells.min_lstm import MinLSTMCell
from unspool.cells.mlstm import MLSTMCell
from unspool.cells.mogrifier_lstm import MogrifierLSTMCell
from unspool.cells.peephole_lstm import PeepholeLSTMCell
from unspool.cells.phased_lstm import PhasedLSTMCell
from unspool.cells.rnn import RNNCell
from unspool.cells.slstm import SLSTMCell
from unspool.cells.stacked import StackedCell
from unspool.errors import check_choice

registry: dict[str, Callable[..., nn.Module]] = {
    "rnn": RNNCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "peephole_lstm": PeepholeLSTMCell,
    "coupled_lstm": CoupledLSTMCell,
    "layer_norm_rnn": LayerNormRNNCell,
    "layer_norm_gru": LayerNormGRUCell,
    "layer_norm_lstm": LayerNormLSTMCell,
    "mgu": MGUCell,
    "min_gru": MinGRUCell,
    "min_lstm": MinLSTMCell,
    "ind_rnn": IndRNNCell,
    "leaky_rnn": LeakyRNNCell,
    "slstm": SLSTMCell,
    "mlstm": MLSTMCell,
    "mogrifier_lstm": MogrifierLSTMCell,
    "cfc": CfCCell,
    "gru_d": GRUDCell,
    "phased_lstm": PhasedLSTMCell,
}

__all__ = [
    "ACTIVATIONS",
    "Cell",
    "CfCCell",
    "CoupledLSTMCell",
    "GRUCell",
    "GRUDCell",
    "IndRNNCell",
    "LSTMCell",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LayerNormRNNCell",
    "LeakyRNNCell",
    "MGUCell",
    "MLSTMCell",
    "MinGRUCell",
    "MinLSTMCell",
    "MogrifierLSTMCell",
    "PeepholeLSTMCell",
    "PhasedLSTMCell",
    "RNNCell",
    "SLSTMCell",
    "StackedCell",
    "get",
    "names",
    "registry",
]


def names() -> list[str]:
    """The names of the registered cells: torch's three, then their variations."""
    return list(registry)


def get(name: str) -> Callable[..., nn.Module]:
    """The class of the cell `name`; `InvalidParameterError` for an unknown name."""
    return registry[check_choice("unspool.cells.get", "name", name, registry)]
