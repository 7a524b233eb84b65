"""Batches of sequences of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unspool.ragged import Ragged

WINDOW = 50  # batches at most; drawn at random together, then cut by length
PREDICTION_BATCH = 512  # sequences: of 10 steps of 128 numbers an eighth sooner than 256
PREDICTION_STEPS = 2**17  # steps a prediction batch may have, so that long series stay within memory


@dataclass
class SequenceData:
    """Encoded sequences with their targets and weights, where there are any.

    columns: (B, C) numbers beside them, or None. targets: a Tensor (B, ...) with a row a sequence, or a Ragged
    (N, ...) with one a step, or what is indexed as one and has `values` (N, ...). weights: (B,) or a Ragged (N,).
    origin: (B,), the row of each in the X that it came from; None: its own number.
    How the rows are cut into batches is theirs to say: a subclass may cut them otherwise.
    """

    inputs: Ragged
    targets: Tensor | Ragged | None = None
    weights: Tensor | Ragged | None = None
    origin: Tensor | None = None
    columns: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def training_batches(self, size: int, generator: torch.Generator) -> Iterable[Batch]:
        """One pass in batches of `size` sequences, drawn by `generator`."""
        return TrainingBatches(self, size, generator)

    def prediction_batches(self) -> Iterable[Batch]:
        """One pass over all rows, always the same."""
        return PredictionBatches(self)

    def steps(self, size: int) -> int:
        """The batches of a training pass."""
        return -(-len(self) // size)

    @property
    def step_counts(self) -> Tensor:
        """(B,) int64: the steps of each sequence."""
        return self.inputs.lengths

    def take(self, rows: Tensor) -> SequenceData:
        """The rows (n,), in that order, as data of their own, without origin. What batches are cut from: a subclass
        may gather its sequences here."""
        inputs = self.inputs[rows]
        targets = None if self.targets is None else self.targets[rows]
        weights = None if self.weights is None else self.weights[rows]
        columns = None if self.columns is None else self.columns[rows]
        return SequenceData(inputs, targets, weights, None, columns)


@dataclass
class Batch:
    """Some rows of the data, in the order of `rows` (B,)."""

    rows: Tensor
    inputs: Ragged
    targets: Tensor | Ragged | None
    weights: Tensor | Ragged | None
    columns: Tensor | None = None

    def to(self, device: torch.device) -> Any:
        """One like it with what the network and the loss take on `device`; rows and offsets stay on the CPU."""
        parts = {"targets": self.targets, "weights": self.weights, "columns": self.columns}
        there: dict[str, Any] = {name: part.to(device) for name, part in parts.items() if part is not None}
        return replace(self, inputs=self.inputs.to(device), **there)

    def take(self, rows: Tensor) -> Any:
        """The sequences at `rows` (n,) of the batch, as one like it."""
        targets, weights, columns = (
            None if part is None else part[rows] for part in (self.targets, self.weights, self.columns)
        )
        return replace(
            self,
            rows=self.rows[rows],
            inputs=self.inputs[rows],
            targets=targets,
            weights=weights,
            columns=columns,
        )

    def by_size(self) -> Tensor:
        """(B,): its sequences by their steps, the least first."""
        return self.inputs.lengths.argsort(stable=True)

    @property
    def given(self) -> tuple[Any, ...]:
        """What the network takes: the inputs, and the columns where there are any."""
        return (self.inputs,) if self.columns is None else (self.inputs, self.columns)

    @property
    def memory(self) -> Any:
        """What later batches start from, once this one was trained on: nested tensors. None: nothing."""
        return None

    def remember(self, memory: Any) -> None:
        """Give later batches what `memory` was."""

    @property
    def count(self) -> int:
        """Targets that the mean loss of the batch is over: its sequences, or their steps."""
        per_step = self.targets is not None and not isinstance(self.targets, Tensor)
        return len(self.targets.values) if per_step else len(self.rows)  # type: ignore[union-attr, arg-type]


class TrainingBatches:
    """Iterates over batches of `size`, others at each pass, drawn by `generator`.

    The rows are shuffled; each run of `WINDOW` batches, or a quarter of them all if that is less, is sorted
    by length, cut, and its batches shuffled.
    """

    def __init__(self, data: SequenceData, size: int, generator: torch.Generator) -> None:
        self.data, self.size, self.generator = data, size, generator

    def __len__(self) -> int:
        return -(-len(self.data) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        lengths = self.data.step_counts
        shuffled = torch.randperm(len(self.data), generator=self.generator, device="cpu")
        window_size = self.size * max(1, min(WINDOW, len(self) // 4))
        for window in shuffled.split(window_size):
            window = window[lengths[window].argsort(stable=True)]
            starts = torch.arange(0, len(window), self.size, device="cpu")
            order = torch.randperm(len(starts), generator=self.generator, device="cpu")
            yield from _cut(self.data, window, self.size, starts[order].tolist())


class PredictionBatches:
    """Iterates over all rows by length, in large batches that stay within memory; always the same ones."""

    def __init__(self, data: SequenceData) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        lengths = self.data.step_counts
        for window in lengths.argsort(stable=True).split(PREDICTION_BATCH):
            longest = max(1, int(lengths[window[-1]]))
            size = max(1, min(PREDICTION_BATCH, PREDICTION_STEPS // longest))
            yield from _cut(self.data, window, size, range(0, len(window), size))


def _cut(data: SequenceData, rows: Tensor, size: int, starts: list[int] | range) -> Iterator[Batch]:
    """Gather the rows once; batches are then slices of one block."""
    block = data.take(rows)
    targets, weights, columns = block.targets, block.weights, block.columns
    for start in starts:
        part = slice(start, min(start + size, len(rows)))
        yield Batch(
            rows[part],
            block.inputs[part],
            None if targets is None else targets[part],
            None if weights is None else weights[part],
            None if columns is None else columns[part],
        )
