"""Series and spectra varied while a network is trained: random crops, noise, masks over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unspool.nn import draws
from unspool.offsets import offsets_of
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
            kept, sizes = _runs(x, 1.0, -self.crop)
            lengths = torch.zeros(len(x), dtype=torch.int64).index_add(0, _rows(x), kept.long())
            x = Ragged(x.values[kept], offsets_of(lengths))
            draws.cut(sizes)
        own, rest = x.values[:, : self.features], x.values[:, self.features :] if self.features else None
        if self.noise:
            width, like = own.shape[1], own
            own = own + self.noise * draws.steps(lambda n: like.new_empty(n, width).normal_(), x.offsets)
        if self.time_mask:
            hidden, _ = _runs(x, 0.0, self.time_mask, least=0)
            own = own.masked_fill(hidden[:, None], 0.0)
        return x.with_values(own if rest is None else torch.cat([own, rest], 1))


def _rows(x: Ragged) -> Tensor:
    """(N,): the sequence of each step."""
    return torch.repeat_interleave(torch.arange(len(x), device="cpu"), x.lengths)


def _runs(x: Ragged, share: float, drawn: float, least: int = 1) -> tuple[Tensor, Tensor]:
    """(N,) bool: of each sequence a run of a share of its steps, rounded, `share` and up to `drawn` more, where it
    starts drawn; and the sizes of the runs, of all sequences of the batch."""
    lengths, own = draws.lengths(x)
    shares = share + drawn * torch.rand(len(lengths), device="cpu")
    sizes = (shares * lengths).round().long().clamp(min=least).minimum(lengths)
    starts = (torch.rand(len(lengths), device="cpu") * (lengths - sizes + 1)).long()
    rows = _rows(x)
    place = torch.arange(len(rows), device="cpu") - x.offsets[:-1][rows]
    first, behind = starts[own][rows], (starts + sizes)[own][rows]
    return (place >= first) & (place < behind), sizes
