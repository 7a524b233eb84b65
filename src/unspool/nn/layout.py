"""A padded tensor, a PackedSequence or a Ragged in; the same kind out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unspool.errors import DataError
from unspool.ragged import Ragged


def to_ragged(x: Any, batch_first: bool, owner: str) -> tuple[Ragged, Callable[[Ragged], Any], bool]:
    """(sequences, what turns an output into the kind of `x`, whether `x` had a batch axis).

    A tensor without steps is a batch of empty sequences, which keep their state. An output lies in the order of its
    axes, so that `output.view(T * B, H)` holds as in torch.
    """
    if isinstance(x, Ragged):
        return x, lambda output: output, True
    if isinstance(x, PackedSequence):
        return Ragged.from_packed(x), lambda output: output.to_packed(like=x), True
    if isinstance(x, Tensor) and x.dim() in (2, 3):
        batched = x if x.dim() == 3 else x.unsqueeze(0 if batch_first else 1)
        if not batch_first:
            batched = batched.transpose(0, 1)
        batch, time = batched.shape[:2]
        if time:
            offsets = torch.arange(0, batch * time + 1, time, dtype=torch.int64, device="cpu")
        else:
            offsets = torch.zeros(batch + 1, dtype=torch.int64, device="cpu")

        def restore(output: Ragged) -> Tensor:
            padded = output.values.reshape(batch, time, output.values.shape[-1])
            if x.dim() == 2:
                return padded[0]
            return padded if batch_first else padded.transpose(0, 1).contiguous()

        return Ragged._of(batched.reshape(batch * time, x.shape[-1]), offsets), restore, x.dim() == 3
    got = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
    raise DataError(
        f"The input of {owner} must be a Ragged, a PackedSequence or a tensor of 3 axes (2 if unbatched). "
        f"Got {got}. Build one with unspool.Ragged.from_list or .from_padded."
    )
