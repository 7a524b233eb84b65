"""Cells that ONNX has operators of: RNN, GRU and LSTM, with its order of gates (LSTM i o f c, GRU z r h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.cells import GRUCell, LSTMCell, RNNCell
from unspool.engine.dispatch import Direction
from unspool.exporting.steps import numbers

ACTIVATIONS = {
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}
ORDERS = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}  # torch's i f g o and r z n in ONNX's order
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class Operator:
    """kind: of ONNX. weights: W (D, G H, F), R (D, G H, H), B (D, 2 G H). attributes: its own. count: directions."""

    kind: str
    weights: tuple[np.ndarray, ...]
    attributes: dict[str, Any]
    count: int


def find_operator(directions: Sequence[Direction], input_size: int) -> Operator | None:
    """The operator of one or two directions; None where ONNX has no such cell."""
    kinds = [_kind(direction.cell) for direction in directions]
    first = kinds[0]
    if (
        first is None
        or any(kind != first for kind in kinds)
        or len({d.reverse for d in directions}) < len(kinds)
    ):
        return None
    if directions[0].reverse and len(directions) > 1:
        return None
    kind, hidden, functions, options = first
    parts = [_weights(direction, kind, hidden) for direction in directions]
    if parts[0][0].shape[1] != input_size:
        return None
    way = "bidirectional" if len(directions) > 1 else "reverse" if directions[0].reverse else "forward"
    attributes = {
        "hidden_size": hidden,
        "direction": way,
        "activations": [*functions] * len(directions),
        **dict(options),
    }
    weights = tuple(np.stack(part) for part in zip(*parts))
    return Operator(kind, weights, attributes, len(directions))


def _kind(cell: Any) -> tuple[str, int, tuple[str, ...], tuple[tuple[str, Any], ...]] | None:
    """(operator, hidden size, activations, further attributes)."""
    if "forward" in vars(cell) or any(getattr(cell, hooks) for hooks in _HOOKS):
        return None
    if type(cell) is RNNCell:
        names, kind, options = [cell.nonlinearity], "RNN", {}
    elif type(cell) is GRUCell:
        names, kind = [cell.recurrent_activation, cell.activation], "GRU"
        options = {"linear_before_reset": int(cell.reset_after)}
    elif type(cell) is LSTMCell and not cell.proj_size:
        names, kind, options = [cell.recurrent_activation, cell.activation, cell.activation], "LSTM", {}
    else:
        return None
    if not all(name in ACTIVATIONS for name in names):
        return None
    return kind, cell.hidden_size, tuple(ACTIVATIONS[name] for name in names), tuple(options.items())


def _weights(direction: Direction, kind: str, hidden: int) -> list[np.ndarray]:
    """W, R and B of one direction, B with the biases of the input, then of the state."""

    def ordered(name: str) -> np.ndarray:
        array = numbers(direction.weight(name), f"The weight {name!r}")
        blocks = np.split(array, len(ORDERS[kind]))
        return np.concatenate([blocks[i] for i in ORDERS[kind]])

    bias = np.zeros(2 * len(ORDERS[kind]) * hidden, dtype=np.float32)
    if getattr(direction.cell, "bias_ih", None) is not None:
        bias = np.concatenate([ordered("bias_ih"), ordered("bias_hh")])
    return [ordered("weight_ih"), ordered("weight_hh"), bias]
