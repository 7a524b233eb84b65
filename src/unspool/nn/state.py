"""The state between batches: cut off its gradient, reset or pick samples, and the chunks of a long series.

A state is what `Recurrent`, `Stack`, `LSTM`, `GRU` and `RNN` return beside their output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import DataError, check_int
from unspool.ragged import Ragged

Rows = Tensor | Sequence[int] | Sequence[bool]


def detach(state: Any) -> Any:
    """The same numbers without their history: gradients stop here (truncated back-propagation)."""
    return _map(Tensor.detach, state)


def select(state: Any, rows: Rows, dim: int = 0) -> Any:
    """The state of the samples `rows`: ints (K,) in any order, or a bool mask (B,).

    dim: the axis of the samples: 0, and 1 for the states of `unspool.nn.LSTM`, `GRU` and `RNN`.
    Raises `DataError` for rows that are not there.
    """
    index = _index(rows, _batch_size(state, dim))
    return _map(lambda part: part.index_select(dim, index.to(part.device)), state)


def moved(state: Any, device: torch.device) -> Any:
    """The state on a device."""
    return _map(lambda part: part.to(device), state)


def joined(states: Sequence[Any], rows: Sequence[Tensor], total: int) -> Any:
    """The state of `total` samples, of which each of `states` has those with the numbers in its `rows`."""

    def put(*parts: Tensor) -> Tensor:
        made = parts[0].new_empty(total, *parts[0].shape[1:])
        for part, index in zip(parts, rows):
            made[index.to(made.device)] = part.to(made.device)
        return made

    return _map(put, *states)


def reset(state: Any, rows: Rows, layer: nn.Module) -> Any:
    """`state` with the samples `rows` (ints (K,) or a bool mask (B,)) back at the layer's initial state.

    layer: the `Recurrent`, `Stack`, `LSTM`, `GRU` or `RNN` that returned it.
    Raises `DataError` for rows that are not there.
    """
    dim = 1 if isinstance(layer, nn.RNNBase) else 0
    batch = _batch_size(state, dim)
    chosen = torch.zeros(batch, dtype=torch.bool, device="cpu").index_fill(0, _index(rows, batch), True)
    fresh: Any = layer.initial_state(batch)  # type: ignore[operator]

    def put(old: Tensor, new: Tensor) -> Tensor:
        where = chosen.to(old.device).unsqueeze(1)
        return torch.where(where, new.to(old), old)

    return _map(put, state, fresh)


def chunks(x: Ragged, length: int | Iterable[int]) -> Iterator[Ragged]:
    """`x` cut along time: steps 0 to length - 1 of every sequence, then the next ones, until the longest ends.

    length: steps of every chunk, or of each in turn, as many as are needed.

    Every chunk has all the sequences, in order; one that has ended is empty there, and an empty sequence keeps its
    state. So with the state carried on, the chunks together give what `x` gives at once. Also for targets (N, ...).
    """
    each = iter(length) if isinstance(length, Iterable) else repeat(check_int("chunks", "length", length))
    starts, lengths = x.offsets[:-1], x.lengths
    longest = int(lengths.max()) if len(x) else 0
    begin = 0
    while begin < longest:
        steps = check_int("chunks", "length", next(each, None))
        part = (lengths - begin).clamp(0, steps)
        offsets = torch.cat([part.new_zeros(1), part.cumsum(0)])
        shift = (starts + begin - offsets[:-1]).repeat_interleave(part)
        rows = torch.arange(int(offsets[-1]), device="cpu") + shift
        yield Ragged(x.values.index_select(0, rows.to(x.values.device)), offsets)
        begin += steps


def _map(f: Callable[..., Tensor], *states: Any) -> Any:
    """`f` of each tensor of states that are nested alike, in lists and tuples."""
    first = states[0]
    if isinstance(first, Tensor):
        return f(*states)
    if not isinstance(first, (tuple, list)):
        raise DataError(f"A state must be a tensor or a tuple or list of such. Got {type(first).__name__}.")
    return type(first)(_map(f, *parts) for parts in zip(*states))


def _batch_size(state: Any, dim: int) -> int:
    while not isinstance(state, Tensor):
        state = state[0]
    return int(state.shape[dim])


def _index(rows: Any, batch: int) -> Tensor:
    index = torch.as_tensor(rows, device="cpu")
    if index.dtype == torch.bool and index.shape == (batch,):
        return index.nonzero().flatten()
    index = index if index.numel() else index.to(torch.int64)
    whole = not index.is_floating_point() and index.dtype != torch.bool
    if index.dim() != 1 or not whole or bool(((index < 0) | (index >= batch)).any()):
        raise DataError(
            f"rows must be ints (K,) in [0, {batch - 1}] or a bool mask ({batch},). "
            f"Got {index.dtype} of shape {tuple(index.shape)}: {index.flatten()[:5].tolist()}."
        )
    return index.to(torch.int64)
