"""Windows of series: what is gathered for a batch, the level taken off, and put back on the answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unspool.ragged import Ragged
from unspool.training.batches import SequenceData


@dataclass(frozen=True)
class Block:
    """Series laid end to end, scaled.

    y (N,): NaN where missing. past (N, P): further features of a step, known when it is past. known (N, K): features
    known ahead. static (S, Q): of each series. offsets (S + 1,): of the series, those of the horizon included.
    """

    y: np.ndarray
    past: np.ndarray
    known: np.ndarray
    static: np.ndarray
    offsets: np.ndarray

    @property
    def features(self) -> int:
        """Of a step: y, whether it was observed, past and known ones."""
        return 2 + self.past.shape[1] + self.known.shape[1]


class Windows(SequenceData):
    """Windows of a block, gathered when they are asked for.

    series (n,): which one. cutoffs (n,): the steps of the series before the horizon. lengths (n,): steps read, the
    last ones before the cut-off. normalization: what is taken off each: "last", the last value observed; "window", mean
    and deviation of what the window observed; "season": the last value, and off each step of the horizon the last value
    observed at its place of the season (`season` steps); "none". Only what lies before the cut-off is looked at.

    A batch has inputs (y, observed, past, known) and columns (static, then the known features of each step of the
    horizon); targets (B, 2 * horizon + 1) are values, 0 where missing, then 1 where observed, then the level's scale.
    weights (N,): of the block's steps, or None; a batch has those of its horizons (B, horizon).
    """

    def __init__(
        self,
        block: Block,
        series: np.ndarray,
        cutoffs: np.ndarray,
        lengths: np.ndarray,
        horizon: int,
        normalization: str,
        scales: np.ndarray,
        season: int = 1,
    ) -> None:
        self.block, self.horizon = block, horizon
        self.ends = block.offsets[series] + cutoffs
        self.series, self.cutoffs, self.sizes = series, cutoffs, lengths
        self.level, self.spread = _levels(block, self.ends, lengths, normalization)
        self.season = season if normalization == "season" else 0
        self.sources = _seasonal_sources(block, season) if self.season else np.zeros(0, np.int64)
        observed = ~np.isnan(block.y)
        self._y = torch.from_numpy(np.where(observed, block.y, 0.0).astype(np.float32))
        self._observed = torch.from_numpy(observed.astype(np.float32))
        self._rest = torch.from_numpy(np.concatenate([block.past, block.known], 1).astype(np.float32))
        self._known = torch.from_numpy(block.known.astype(np.float32))
        self._static = torch.from_numpy(block.static.astype(np.float32))
        self._level = torch.from_numpy(self.level.astype(np.float32))
        self._spread = torch.from_numpy(self.spread.astype(np.float32))
        self.unit = self.spread * scales[series]
        self._unit = torch.from_numpy(self.unit.astype(np.float32))
        table = torch.from_numpy(np.stack([series, cutoffs, lengths], 1).astype(np.int64))
        whole = torch.cat([self._y[:, None], self._observed[:, None], self._rest], 1)
        # What a checkpoint compares; batches are made by `take`.
        super().__init__(Ragged(whole, torch.from_numpy(block.offsets)), table, None, None, self._static)

    def __len__(self) -> int:
        return len(self.ends)

    def base(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), horizon): what is taken off the steps of the horizon."""
        level = np.repeat(self.level[rows][:, None], self.horizon, 1)
        if not self.season:
            return level
        at = self.ends[rows][:, None] - self.season + np.arange(self.horizon) % self.season
        at = np.where(at >= 0, self.sources[np.maximum(at, 0)], -1)
        inside = at >= (self.ends - self.sizes)[rows][:, None]
        return np.where(inside, self.block.y[at], level)

    @property
    def step_counts(self) -> Tensor:
        """(n,) int64."""
        return torch.from_numpy(self.sizes)

    def take(self, rows: Tensor) -> SequenceData:
        """The windows at `rows`."""
        at = rows.numpy()
        ends, sizes = torch.from_numpy(self.ends[at]), torch.from_numpy(self.sizes[at])
        offsets = torch.zeros(len(at) + 1, dtype=torch.int64)
        offsets[1:] = sizes.cumsum(0)
        owner = torch.arange(len(at)).repeat_interleave(sizes)
        steps = torch.arange(int(offsets[-1])) + (ends - offsets[1:])[owner]
        level, spread = self._level[rows], self._spread[rows]
        observed = self._observed[steps]
        y = (self._y[steps] - level[owner]) / spread[owner] * observed
        inputs = torch.cat([y[:, None], observed[:, None], self._rest[steps]], 1)
        coming = ends[:, None] + torch.arange(self.horizon)
        there = coming < len(self._y)
        there &= coming < torch.from_numpy(self.block.offsets)[torch.from_numpy(self.series[at]) + 1][:, None]
        coming = coming.clamp(max=len(self._y) - 1)
        mask = self._observed[coming] * there
        base = torch.from_numpy(self.base(at).astype(np.float32))
        values = (self._y[coming] - base) / spread[:, None] * mask
        targets = torch.cat([values, mask, self._unit[rows][:, None]], 1)
        static = self._static[torch.from_numpy(self.series[at])]
        columns = torch.cat([static, (self._known[coming] * there[..., None]).flatten(1)], 1)
        beside = columns if columns.shape[1] else None
        weights = None if self.weights is None else self.weights[coming]
        return SequenceData(Ragged(inputs, offsets), targets, weights, None, beside)


def _levels(
    block: Block, ends: np.ndarray, lengths: np.ndarray, normalization: str
) -> tuple[np.ndarray, np.ndarray]:
    """(level, spread) of each window, float64."""
    ones = np.ones(len(ends))
    if normalization == "none":
        return np.zeros(len(ends)), ones
    seen = ~np.isnan(block.y)
    if normalization in ("last", "season"):
        at = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))[ends - 1]
        inside = at >= ends - lengths
        return np.where(inside, block.y[at], 0.0), ones
    y = np.where(seen, block.y, 0.0)
    sums = [np.concatenate([[0.0], np.cumsum(v)]) for v in (seen.astype(float), y, y * y)]
    count, total, squares = (s[ends] - s[ends - lengths] for s in sums)
    count = np.maximum(count, 1)
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, np.where(spread > 1e-6, spread, 1.0)


def _seasonal_sources(block: Block, season: int) -> np.ndarray:
    """(N,): for each step the last one at its place of the season that was observed, itself included; -1: none."""
    seen = ~np.isnan(block.y)
    found = np.where(seen, np.arange(len(seen)), -1)
    for start, end in zip(block.offsets, block.offsets[1:]):
        for place in range(min(season, end - start)):
            part = slice(start + place, end, season)
            found[part] = np.maximum.accumulate(found[part])
    return found


def training_windows(
    counts: np.ndarray,
    firsts: np.ndarray,
    limits: np.ndarray,
    horizon: int,
    size: int,
    unit: int,
    stride: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(series, cutoffs, lengths) of all windows of S series whose horizon ends at or before `limits` (S,).

    counts (S,): steps of each. firsts (S,): the earliest cut-off. A window has `size` steps, or as many as there are,
    a multiple of `unit`. stride: steps between cut-offs, counted back from the last.
    """
    series, cutoffs = [], []
    for s, (count, first, limit) in enumerate(zip(counts, firsts, limits)):
        last = min(count, limit) - horizon
        found = np.arange(last, max(first, unit) - 1, -stride)[::-1]
        series.append(np.full(len(found), s))
        cutoffs.append(found)
    of, at = np.concatenate(series).astype(np.int64), np.concatenate(cutoffs).astype(np.int64)
    return of, at, np.minimum(size, at // unit * unit)
