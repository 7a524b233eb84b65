"""Pairs of token sequences as batches: the decoder sees each target from its mark on, and is to tell what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unspool.generation.vocabulary import END_ID
from unspool.ragged import Ragged
from unspool.training import Batch, PredictionBatches, SequenceData

SCORES = 2**24  # numbers (tokens x vocabulary) that a batch of predictions holds at most, one row apart


class PairBatch(Batch):
    """Some pairs: inputs (N,) of the source, targets (M,) with the end mark."""

    @property
    def tokens(self) -> Ragged:
        """(M,): what the decoder is given at each step: the mark, then each token but the end."""
        assert isinstance(self.targets, Ragged)
        values = self.targets.values.roll(1)  # before each target is the end mark of another: the mark itself
        return self.targets.with_values(values)

    @property
    def given(self) -> tuple[Any, ...]:
        """The source, and the target's tokens so far."""
        return self.inputs, self.tokens


@dataclass
class PairData(SequenceData):
    """Sources (inputs) and targets, each with the end mark, as token numbers.

    vocabulary_size: of the target, bounds the batches of predictions.
    """

    vocabulary_size: int = 1

    def training_batches(self, size: int, generator: torch.Generator) -> Iterator[PairBatch]:
        """One pass in batches of `size` pairs with sources of similar length."""
        for batch in super().training_batches(size, generator):
            yield _paired(batch)

    def prediction_batches(self) -> Iterator[PairBatch]:
        """All pairs, in batches that stay within memory; always the same."""
        assert isinstance(self.targets, Ragged)
        most = max(1, SCORES // self.vocabulary_size)
        for batch in PredictionBatches(self):
            assert isinstance(batch.targets, Ragged)
            size = max(1, most // max(1, int(batch.targets.lengths.max())))
            for start in range(0, len(batch.rows), size):
                part = slice(start, start + size)
                yield PairBatch(batch.rows[part], batch.inputs[part], batch.targets[part], None)


def _paired(batch: Batch) -> PairBatch:
    return PairBatch(batch.rows, batch.inputs, batch.targets, batch.weights)


def ragged(rows: Sequence[np.ndarray], mark: bool = False) -> Ragged:
    """(N,) token numbers of all rows; mark: with the end mark after each."""
    end = [np.array([END_ID])] if mark else []
    parts = [part for row in rows for part in (row, *end)]
    lengths = torch.tensor([len(row) + mark for row in rows], dtype=torch.int64)
    values = np.concatenate([np.zeros(0, dtype=np.int64), *parts]).astype(np.int64)
    return Ragged(torch.from_numpy(values), torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
