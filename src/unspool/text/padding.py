"""The classic `pad_sequences`, for scripts that have it, and `unpad`, which takes its pads away again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from unspool.arrays import native
from unspool.errors import DataError, bad_parameter, check_choice, check_int
from unspool.ragged import Ragged


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
) -> NDArray[Any]:
    """Sequences of shapes (T_i, ...) -> one array (B, maxlen, ...), with Keras' arguments and results.

    Parameters
    ----------
    sequences : lists or arrays, one trailing shape in common; empty ones become pads only.
    maxlen : steps kept of each sequence; None keeps those of the longest.
    dtype : of the result; `object` or a string type for strings.
    padding, truncating : "pre" or "post": the side that is filled up, or cut off.
    value : the pad.

    Raises `DataError` for sequences that are not lists or differ in shape, `InvalidParameterError` for a
    parameter out of range; both are `ValueError`.
    """
    check_choice("pad_sequences", "padding", padding, ("pre", "post"))
    check_choice("pad_sequences", "truncating", truncating, ("pre", "post"))
    if isinstance(value, str) and np.dtype(dtype).kind not in "OU":
        bad_parameter("pad_sequences", "dtype", "object or str for a pad that is text", dtype)
    if not hasattr(sequences, "__len__"):
        raise DataError(f"pad_sequences needs a list of sequences. Got {type(sequences).__name__}.")
    for i, sequence in enumerate(sequences):
        if not hasattr(sequence, "__len__"):
            raise DataError(f"Sequence {i} must be a list or an array. Got {sequence!r}.")
    if maxlen is None:
        if len(sequences) == 0:
            raise DataError("pad_sequences got no sequences and no maxlen. Give one or the other.")
        maxlen = max(len(sequence) for sequence in sequences)
    maxlen = check_int("pad_sequences", "maxlen", maxlen, low=0)

    trailing = next((np.asarray(sequence).shape[1:] for sequence in sequences if len(sequence)), ())
    padded = np.full((len(sequences), maxlen, *trailing), value, dtype=dtype)
    for i, sequence in enumerate(sequences):
        if len(sequence) == 0:
            continue
        excess = max(len(sequence) - maxlen, 0)
        kept = np.asarray(sequence[excess:] if truncating == "pre" else sequence[:maxlen], dtype=dtype)
        if kept.shape[1:] != trailing:
            raise DataError(
                f"The steps of sequence {i} have shape {kept.shape[1:]}; those before it have {trailing}."
            )
        start = maxlen - len(kept) if padding == "pre" else 0
        padded[i, start : start + len(kept)] = kept
    return padded


def unpad(array: Any, value: float = 0) -> Ragged:
    """A padded array (B, T, ...) -> Ragged, without the run of pads at either end of each row.

    A step is a pad where all its numbers equal `value`; between two real steps it is kept, and a row of pads
    only becomes an empty sequence. Integers become int64; other dtypes stay.

    Raises `DataError` for an array with fewer than two axes.
    """
    x = array if isinstance(array, torch.Tensor) else torch.from_numpy(native(np.array(array)))
    if x.dim() < 2:
        raise DataError(f"unpad needs an array (B, T, ...). Got shape {tuple(x.shape)}.")
    if not x.is_floating_point() and x.dtype != torch.bool:
        x = x.to(torch.int64)
    pad = x.isnan() if value != value else x == value
    real = ~pad.flatten(2).all(2) if pad.dim() > 2 else ~pad
    begun = real.cumsum(1) > 0
    to_come = real.flip(1).cumsum(1).flip(1) > 0
    return Ragged.from_padded(x, mask=begun & to_come)
