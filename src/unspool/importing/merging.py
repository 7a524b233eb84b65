"""Several layers of an imported network as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unspool.errors import DataError
from unspool.importing.signal import Signal
from unspool.saved import Fields


class Merge(nn.Module):
    """Several inputs with the same steps, or rows, as one.

    "concat" joins features; "concat_steps" steps, one input after the other. The others are elementwise: where some
    inputs are rows, each step meets them; a width of 1 is repeated, both as in Keras.
    """

    KINDS: ClassVar[dict[str, Any]] = {
        "concat": lambda parts: torch.cat(parts, -1),
        "concat_steps": lambda parts: torch.cat(parts, -1),
        "sum": lambda parts: torch.stack(parts).sum(0),
        "mean": lambda parts: torch.stack(parts).mean(0),
        "product": lambda parts: torch.stack(parts).prod(0),
        "max": lambda parts: torch.stack(parts).amax(0),
        "min": lambda parts: torch.stack(parts).amin(0),
        "difference": lambda parts: parts[0] - parts[1],
    }
    PAIRS = ("difference",)

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    @classmethod
    def from_fields(cls, fields: Fields) -> Merge:
        """The layer that a saved model describes."""
        return cls(fields.choice("how", cls.KINDS))

    def forward(self, *xs: Signal) -> Signal:
        """All must skip the same steps: versions of Keras differ where they do not."""
        steps = [x for x in xs if x.offsets is not None]
        if self.how == "concat_steps" and len(steps) == len(xs):
            return _one_after_the_other(xs)
        joins = self.how.startswith("concat")
        parts = [x.looked_up() for x in xs]
        widths = {part.shape[-1] for part in parts}
        fit = len({x.batch_size for x in xs}) == 1
        fit &= all(torch.equal(x.offsets, steps[0].offsets) for x in steps)  # type: ignore[arg-type]
        fit &= joins or len(widths - {1}) <= 1
        if not fit or (joins and 0 < len(steps) < len(xs)) or (self.how in self.PAIRS and len(xs) != 2):
            got = ", ".join(
                f"{'rows' if x.offsets is None else 'steps'} {tuple(x.looked_up().shape)}" for x in xs
            )
            raise DataError(f"Layers that are merged by {self.how!r} must have one shape. Got {got}.")
        masks = [None if x.kept() is None else x.mask for x in xs]
        if any((m is None) != (masks[0] is None) or not _equal(m, masks[0]) for m in masks):
            raise DataError("Sequences that skip different steps cannot be merged.")
        if 0 < len(steps) < len(xs):
            counts = steps[0].offsets.diff()  # type: ignore[union-attr]
            parts = [p.repeat_interleave(counts, 0) if x.offsets is None else p for x, p in zip(xs, parts)]
        if not joins and len(widths) > 1:
            parts = [part.expand(-1, max(widths)) for part in parts]
        first = steps[0] if steps else xs[0]
        return replace(first.with_values(Merge.KINDS[self.how](parts)), mask=masks[0])


def _one_after_the_other(xs: Sequence[Signal]) -> Signal:
    """The steps of each sequence of the first, then those of the second, and so on."""
    widths = {x.looked_up().shape[-1] for x in xs}
    if len(widths) > 1 or len({x.batch_size for x in xs}) > 1:
        got = ", ".join(str(tuple(x.looked_up().shape)) for x in xs)
        raise DataError(f"Sequences that follow each other must have one width. Got {got}.")
    counts = torch.stack([x.offsets.diff() for x in xs], 1)  # type: ignore[union-attr]  # (B, inputs)
    lengths, starts = counts.flatten(), counts.T.flatten().cumsum(0).reshape(len(xs), -1).T - counts
    ends = lengths.cumsum(0)
    rows = torch.arange(int(lengths.sum())) + torch.repeat_interleave(
        starts.flatten() - (ends - lengths), lengths
    )
    masks = [x.mask if x.mask is not None else x.values.new_ones(len(x.values), dtype=torch.bool) for x in xs]
    mask = torch.cat(masks)[rows] if any(x.mask is not None for x in xs) else None
    offsets = torch.cat([counts.new_zeros(1), counts.sum(1).cumsum(0)])
    return Signal(torch.cat([x.looked_up() for x in xs])[rows], offsets, mask)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))
