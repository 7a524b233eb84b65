"""The steps of a ragged batch in the order of time, for recursions that run over the batch at once."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from unspool.ragged import Ragged


class TimeMajor:
    """A batch (N steps) in the order of time: all first steps, the longest sequence's first, then all second ones.

    sizes: sequences at each time; starts: where its steps begin, from 0. index (N,): for each step in the order of
    time its row in the batch. sequences (S,): the numbers of those that are not empty, the longest first, and
    `owner` (N,): for each step the place of its sequence among these. last (S,): the last step of each. previous
    (N - S,): for each step after the S first ones, the step before it.
    """

    def __init__(self, batch: Ragged) -> None:
        device = batch.values.device
        lengths = batch.lengths
        order = lengths.argsort(descending=True, stable=True)
        order = order[lengths[order] > 0]
        lengths = lengths[order]
        longest = int(lengths[0]) if len(lengths) else 0
        times = torch.arange(longest, device="cpu")
        counts = (lengths > times[:, None]).sum(1)
        self.sizes = counts.tolist()
        self.starts = [0, *accumulate(self.sizes)]
        first = counts.cumsum(0) - counts
        time = torch.repeat_interleave(times, counts)
        steps = torch.arange(self.starts[-1], device="cpu")
        owner = steps - first[time]
        rest = steps[len(order) :]
        self.index = (batch.offsets[:-1][order][owner] + time).to(device)
        self.owner, self.sequences = owner.to(device), order.to(device)
        self.last = (first[lengths - 1] + torch.arange(len(order), device="cpu")).to(device)
        self.previous = (rest - counts[time[rest] - 1]).to(device)

    def __len__(self) -> int:
        return len(self.sizes)

    def at(self, values: Tensor, time: int) -> Tensor:
        """The rows of values (N, ...) at one time, as a view."""
        return values[self.starts[time] : self.starts[time + 1]]
