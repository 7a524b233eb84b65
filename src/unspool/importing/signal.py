"""What passes between the layers of an imported network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.ragged import Ragged


@dataclass(frozen=True)
class Signal:
    """Steps of B sequences laid end to end, or one row for each.

    values: steps (N, F), ids (N,), or rows (B, F) without offsets.
    offsets: (B + 1,) int64; None: rows.
    mask: (N,) bool, False at the steps that later layers skip; None: no layer masks.
    table: (V, F) an embedding; `values` (N,) are then rows of it, not yet looked up.
    states: (B, H) each, that a recurrent layer ended with.
    """

    values: Tensor
    offsets: Tensor | None = None
    mask: Tensor | None = None
    table: Tensor | None = None
    states: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, x: Ragged) -> Signal:
        """Steps, no mask."""
        return cls(x.values, x.offsets)

    @property
    def batch_size(self) -> int:
        """B."""
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def steps(self, layer: str) -> Tensor:
        """The offsets; `DataError` where there are rows."""
        if self.offsets is None:
            raise DataError(f"{layer} needs a sequence. Got one row for each sequence.")
        return self.offsets

    def looked_up(self) -> Tensor:
        """Values (N, F), whether they are rows of a table or not."""
        return self.values if self.table is None else self.table[self.values]

    def with_values(self, values: Tensor) -> Signal:
        """The same steps with other values."""
        return replace(self, values=values, table=None, states=())

    def kept(self) -> Tensor | None:
        """(K,) the steps that are not skipped; None: all."""
        if self.mask is None or bool(self.mask.all()):
            return None
        return self.mask.nonzero().flatten()


def kept_offsets(offsets: Tensor, mask: Tensor) -> Tensor:
    """(B + 1,) the offsets of what is left of each sequence when masked steps are gone."""
    counts = torch.cat([mask.new_zeros(1, dtype=torch.int64), mask.to(torch.int64).cumsum(0)])
    return counts[offsets]


def spread(output: Tensor, mask: Tensor, offsets: Tensor, reverse: bool, zeros: bool) -> Tensor:
    """(N, H) from the outputs (K, H) at the steps of `mask`.

    A skipped step has the output of the step that ran before it in its sequence (after it, for `reverse`), and zeros
    where there was none or where `zeros` asks for them everywhere.
    """
    full = output.new_zeros(len(mask), output.shape[1])
    if zeros or not len(output):
        full[mask] = output
        return full
    before = mask.to(torch.int64).cumsum(0)  # steps that ran, up to and with each
    at = before if reverse else before - 1
    at = torch.where(mask, before - 1, at)
    ends = kept_offsets(offsets, mask)
    row = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
    there = (at >= ends[:-1][row]) & (at < ends[1:][row])
    full[there] = output[at[there]]
    return full
