"""Series and spectra varied while a network is trained: random crops, noise, masks over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unspool.ragged import Ragged


class Augment(nn.Module):
    """A Ragged of standardised features (N, F) -> one like it, varied anew at each call; in `eval` mode as it is.

    crop: in [0, 1): each sequence keeps a run of its steps, of a share drawn between 1 - crop and 1.
    noise: the deviation of normal noise on the features; 0 or more.
    time_mask: in [0, 1): a run of a share drawn between 0 and time_mask of the steps is 0, the features' mean (Park et
    al. 2019, arXiv:1904.08779, without their masks over bands).
    features: the first of the F that these are about; those after are kept as they are. None: all.
    """

    def __init__(
        self, crop: float = 0.0, noise: float = 0.0, time_mask: float = 0.0, features: int | None = None
    ) -> None:
        super().__init__()
        self.crop, self.noise, self.time_mask, self.features = crop, noise, time_mask, features

    def forward(self, x: Ragged) -> Ragged:
        if not self.training:
            return x
        if self.crop:
            kept = _runs(x, 1 - self.crop * torch.rand(len(x), device="cpu"))
            lengths = torch.zeros(len(x), dtype=torch.int64).index_add(0, _rows(x), kept.long())
            x = Ragged(x.values[kept], torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))
        own, rest = x.values[:, : self.features], x.values[:, self.features :] if self.features else None
        if self.noise:
            own = own + self.noise * torch.randn_like(own)
        if self.time_mask:
            hidden = _runs(x, self.time_mask * torch.rand(len(x), device="cpu"), least=0)
            own = own.masked_fill(hidden[:, None], 0.0)
        return x.with_values(own if rest is None else torch.cat([own, rest], 1))


def _rows(x: Ragged) -> Tensor:
    """(N,): the sequence of each step."""
    return torch.repeat_interleave(torch.arange(len(x), device="cpu"), x.lengths)


def _runs(x: Ragged, share: Tensor, least: int = 1) -> Tensor:
    """(N,) bool: of each sequence a run of that share of its steps, rounded, where it starts drawn."""
    lengths = x.lengths
    sizes = (share * lengths).round().long().clamp(min=least).minimum(lengths)
    starts = (torch.rand(len(x), device="cpu") * (lengths - sizes + 1)).long()
    rows = _rows(x)
    place = torch.arange(len(rows), device="cpu") - x.offsets[:-1][rows]
    return (place >= starts[rows]) & (place < (starts + sizes)[rows])
