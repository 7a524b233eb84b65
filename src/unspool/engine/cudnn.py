"""The built-in cells on a GPU: torch's own layers, which are cuDNN's there, on a PackedSequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unspool.cells import GRUCell, LSTMCell, RNNCell
from unspool.ragged import Ragged
from unspool.state import flatten, unflatten

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def layer_of(cell: nn.Module) -> str | None:
    """The layer of torch that computes `cell`: "lstm", "gru", "rnn_tanh" or "rnn_relu"; None: there is none."""
    if type(cell) is LSTMCell and _usual(cell):
        return "lstm"
    if type(cell) is GRUCell and cell.reset_after and _usual(cell):
        return "gru"
    if type(cell) is RNNCell and cell.nonlinearity in ("tanh", "relu"):
        return f"rnn_{cell.nonlinearity}"
    return None


def _usual(cell: LSTMCell | GRUCell) -> bool:
    return (cell.activation, cell.recurrent_activation) == ("tanh", "sigmoid")


def run(
    cell: nn.Module,
    weights: Mapping[str, Tensor],
    values: Tensor,
    offsets: Tensor,
    state: Any,
    reverse: bool,
) -> tuple[Tensor, Any]:
    """One direction of a cell that has a `layer_of`; as `engine.eager.run`, on any device."""
    x = Ragged(values, offsets)
    filled = (x.lengths > 0).nonzero().flatten()
    if len(filled) == 0:
        return values.new_zeros(0, flatten(state)[0].shape[1]), state
    if reverse:
        x = x.reverse()
    packed = x[filled].to_packed()
    rows = filled.to(values.device)
    order = packed.sorted_indices
    parts = [leaf[rows][order].unsqueeze(0) for leaf in flatten(state)]
    flat = [weights[name] for name in _NAMES if weights.get(name) is not None]
    has_bias = weights.get("bias_ih") is not None
    name = layer_of(cell)
    assert name is not None
    hidden: Any = parts if name == "lstm" else parts[0]
    output, *final = getattr(torch._VF, name)(
        packed.data, packed.batch_sizes, hidden, flat, has_bias, 1, 0.0, torch.is_grad_enabled(), False
    )
    out = Ragged.from_packed(packed._replace(data=output)).values
    done = [f[0][packed.unsorted_indices] for f in final]
    leaves = [leaf.index_copy(0, rows, f) for leaf, f in zip(flatten(state), done)]
    result = Ragged(out, offsets)
    return (result.reverse() if reverse else result).values, unflatten(state, leaves)


def without_layer(cells: Sequence[nn.Module]) -> nn.Module | None:
    """The first cell that torch has no layer for."""
    return next((cell for cell in cells if layer_of(cell) is None), None)
