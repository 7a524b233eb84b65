"""ONNX' LSTM, GRU and RNN to our cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing import gates
from unspool.importing.onnx_file import constant, is_given, is_zero, lengths_behind, states_behind

KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ORDERS = {"LSTM": gates.ONNX_LSTM, "GRU": gates.ONNX_GRU, "RNN": gates.PLAIN}
DEFAULTS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
PLAIN = {name: name for name in ("relu", "tanh", "sigmoid", "softsign", "softplus")}
#: Function with constants -> its defaults for (alpha, beta), None where it has no such constant.
WITH_CONSTANTS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None),
}


@dataclass
class RecurrentNode:
    """One ONNX node as ours: settings of `RecurrentLayer` for outputs at every step, and its weights."""

    settings: dict[str, Any]
    tensors: dict[str, np.ndarray]
    directions: int
    batch_first: bool
    hidden_size: int


def where(node: Any) -> str:
    """How errors name a node."""
    return f"the node {node.name!r} ({node.op_type})"


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of an attribute; `default` where the node lacks it."""
    return node.attributes[name].value if name in node.attributes else default


def read(node: Any) -> RecurrentNode:
    """The node's cells and weights; `ModelFileError` for what no cell of ours computes."""
    place = where(node)
    known = {
        "direction",
        "hidden_size",
        "activations",
        "activation_alpha",
        "activation_beta",
        "clip",
        "layout",
    }
    known |= {"input_forget", "linear_before_reset", "output_sequence"}
    for name in node.attributes:
        if name not in known:
            raise ModelFileError(f"{place} has an attribute {name!r} that is not known.")
    if "clip" in node.attributes:
        raise ModelFileError(
            f"{place} clips its gates ({attribute(node, 'clip', 0)}), which is not supported."
        )
    if attribute(node, "input_forget", 0):
        raise ModelFileError(f"{place} couples its gates (input_forget), which is not supported.")
    direction = attribute(node, "direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ModelFileError(f"{place} has the direction {direction!r}.")
    count = 2 if direction == "bidirectional" else 1
    inputs = [*node.inputs, *[None] * 8][:8]
    weights = _weights(node, inputs, count)
    for number in (5, 6):
        start = inputs[number]
        if start is not None and not is_given(states_behind(start)) and not is_zero(start):
            raise ModelFileError(f"{place} starts from a state that is not zero, which is not supported.")
    if inputs[4] is not None and not lengths_behind(inputs[4]):
        raise ModelFileError(f"{place} has lengths (sequence_lens) that are no input of the model.")
    functions = _functions(node, count)
    cells: list[dict[str, Any]] = []
    tensors: dict[str, np.ndarray] = {}
    for number in range(count):
        cell, own = _cell(node, [None if w is None else w[number] for w in weights], functions[number])
        cells.append(cell)
        place_of = "layer.reverse_cell" if number else "layer.cell"
        tensors |= {f"{place_of}.{name}": t for name, t in own.items()}
    settings = {
        "cells": cells,
        "merge": "concat",
        "reverse": direction == "reverse",
        "outputs": "steps",
        "zeros_at_skipped": False,
        "stateful": False,
    }
    return RecurrentNode(settings, tensors, count, attribute(node, "layout", 0) == 1, cells[0]["hidden_size"])


def _weights(node: Any, inputs: list[Any], count: int) -> list[np.ndarray | None]:
    """W (D, G*H, F), R (D, G*H, H), B (D, 2*G*H) or None, P (D, 3*H) or None."""
    kind, place = node.op_type, where(node)
    found: list[np.ndarray | None] = []
    for name, number in (("W", 1), ("R", 2), ("B", 3), ("P", 7)):
        value = inputs[number] if number != 7 or kind == "LSTM" else None
        array = None if value is None else constant(value, name)
        if array is None and (value is not None or name in "WR"):
            raise ModelFileError(
                f"{place} must have its weights {name} in the file. They are computed, or missing."
            )
        found.append(None if array is None else np.asarray(array, np.float32))
    w, r = found[0], found[1]
    hidden = r.shape[2] if r is not None and r.ndim == 3 else 0
    features = w.shape[2] if w is not None and w.ndim == 3 else 0
    rows = GATES[kind] * hidden
    expected = [(count, rows, features), (count, rows, hidden), (count, 2 * rows), (count, 3 * hidden)]
    got = [None if array is None else array.shape for array in found]
    if not hidden or not features or any(g is not None and g != e for g, e in zip(got, expected)):
        raise ModelFileError(f"{place} must have weights W, R, B, P of shapes {expected}. Got {got}.")
    declared = attribute(node, "hidden_size", hidden)
    if declared != hidden:
        raise ModelFileError(f"{place} declares the hidden size {declared}; its weights have {hidden}.")
    return found


def _cell(
    node: Any, weights: list[Any], functions: list[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    kind, place = node.op_type, where(node)
    w, r, b, p = weights
    order = ORDERS[kind]
    cell: dict[str, Any] = {"cell": KINDS[kind], "input_size": w.shape[1], "hidden_size": r.shape[1]}
    cell["bias"] = b is not None
    tensors = {"weight_ih": gates.reordered(w, order), "weight_hh": gates.reordered(r, order)}
    if b is not None:
        first, second = np.split(b, 2)
        tensors |= {"bias_ih": gates.reordered(first, order), "bias_hh": gates.reordered(second, order)}
    if kind == "RNN":
        cell["nonlinearity"] = functions[0]
    elif kind == "GRU":
        cell["recurrent_activation"], cell["activation"] = functions
        cell["reset_after"] = attribute(node, "linear_before_reset", 0) != 0
    elif functions[1] != functions[2]:
        raise ModelFileError(
            f"{place} has two functions, {functions[1]} and {functions[2]}, for what is written and for the output; "
            "one is supported."
        )
    elif p is not None and np.any(p):
        if functions != list(DEFAULTS["LSTM"]):
            raise ModelFileError(f"{place} has peepholes and functions other than sigmoid and tanh.")
        cell |= {"cell": "peephole_lstm", "peepholes": "ifo"}
        tensors |= {f"peephole_{gate}": part for gate, part in zip("iof", np.split(p, 3))}
    else:
        cell["recurrent_activation"], cell["activation"] = functions[:2]
    return cell, tensors


def _functions(node: Any, count: int) -> list[list[str]]:
    """Our names of each direction's functions."""
    defaults = DEFAULTS[node.op_type]
    names = [str(name) for name in attribute(node, "activations", ())] or [*defaults] * count
    if len(names) != len(defaults) * count:
        raise ModelFileError(f"{where(node)} must have {len(defaults) * count} functions. Got {names}.")
    alphas, betas = (list(attribute(node, f"activation_{letter}", ())) for letter in ("alpha", "beta"))
    found = [_function(node, name, alphas, betas) for name in names]
    if alphas or betas:
        raise ModelFileError(f"{where(node)} has more constants for its functions ({names}) than they take.")
    return [found[start : start + len(defaults)] for start in range(0, len(found), len(defaults))]


def _function(node: Any, name: str, alphas: list[float], betas: list[float]) -> str:
    """Our name of a function; its constants are taken off the front of the lists."""
    lower = name.lower()
    if lower in PLAIN:
        return PLAIN[lower]
    alpha, beta = WITH_CONSTANTS.get(lower, (None, None))
    alpha = alphas.pop(0) if alpha is not None and alphas else alpha
    beta = betas.pop(0) if beta is not None and betas else beta
    if lower == "hardsigmoid" and beta == 0.5 and alpha is not None:
        if abs(alpha - 0.2) < 1e-7:
            return "hard_sigmoid_keras2"
        if abs(alpha - 1 / 6) < 1e-7:
            return "hard_sigmoid"
    if lower == "elu" and alpha == 1.0:
        return "elu"
    if lower == "affine" and (alpha, beta) == (1.0, 0.0):
        return "linear"
    raise ModelFileError(
        f"{where(node)} has the function {name} (alpha {alpha}, beta {beta}), which is not supported."
    )
