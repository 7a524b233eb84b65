"""Texts as batches of chunks in order: the state that ends one chunk starts the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.generation.vocabulary import END_ID
from unspool.nn.state import chunks, moved
from unspool.ragged import Ragged
from unspool.training import Batch, PredictionBatches, SequenceData, TrainingBatches

SCORES = 2**24  # numbers (tokens x vocabulary) that a batch of predictions holds at most
SHORTEST = 5  # steps of a chunk of random length


@dataclass
class Carried:
    """What one chunk hands to the next of the same sequences: the state of the network, without its history."""

    state: Any = None


@dataclass
class Chunk(Batch):
    """Some steps of some rows."""

    carried: Carried = field(default_factory=Carried)

    @property
    def following(self) -> Ragged:
        """The token after each."""
        assert isinstance(self.targets, Ragged)
        return self.targets

    @property
    def given(self) -> tuple[Any, ...]:
        """The tokens and the state before them."""
        return self.inputs, self.carried

    def to(self, device: torch.device) -> Any:
        """See `Batch`; a state that a checkpoint gave goes along."""
        if self.carried.state is not None:
            self.carried.state = moved(self.carried.state, device)
        return super().to(device)

    def by_size(self) -> Tensor:
        """As they are: texts come by their length, and one order holds for all chunks of them."""
        return torch.arange(len(self.rows), device="cpu")

    @property
    def memory(self) -> Any:
        """The state that the next chunk of these sequences starts from."""
        return self.carried.state

    def remember(self, memory: Any) -> None:
        """See `Batch`."""
        self.carried.state = memory


@dataclass
class TextData(SequenceData):
    """Token numbers (inputs) and those that follow them (targets), each a Ragged (N,).

    steps_a_chunk: through so many steps gradients go back. random_lengths: draw each chunk's length, see `lengths`.
    vocabulary_size: bounds the batches of predictions.
    """

    steps_a_chunk: int = 128
    random_lengths: bool = False
    vocabulary_size: int = 1

    @property
    def following(self) -> Ragged:
        """The token after each."""
        assert isinstance(self.targets, Ragged)
        return self.targets

    def training_batches(self, size: int, generator: torch.Generator) -> Iterator[Chunk]:
        """Batches of `size` sequences, each cut into chunks in order."""
        for batch in TrainingBatches(self, size, generator):
            yield from _cut(batch, self.lengths(generator))

    def prediction_batches(self) -> Iterator[Chunk]:
        """All rows, in chunks that stay within memory; always the same."""
        most = max(1, SCORES // self.vocabulary_size)
        for batch in PredictionBatches(self):
            yield from _cut(batch, (max(1, most // len(batch.rows)) for _ in count()))

    def steps(self, size: int) -> int:
        """The chunks of a training pass; about so many where batches or lengths are drawn."""
        lengths = self.inputs.lengths.sort(descending=True).values[::size]
        mean = 0.975 * self.steps_a_chunk if self.random_lengths else self.steps_a_chunk
        return max(1, int((lengths / mean).ceil().sum()))

    def lengths(self, generator: torch.Generator) -> Iterator[int]:
        """Steps of one chunk after the other.

        Random ones: about N(l, 5²), at least 5, l being `steps_a_chunk` in 95 of 100 and half of it otherwise
        (Merity, Keskar & Socher 2017, arXiv:1708.02182, section 5), so that no place of a text always starts a chunk.
        """
        while True:
            if not self.random_lengths:
                yield self.steps_a_chunk
                continue
            half, normal = torch.rand((), generator=generator), torch.randn((), generator=generator)
            base = self.steps_a_chunk if half < 0.95 else self.steps_a_chunk / 2
            yield max(SHORTEST, int(base + 5 * normal))


def _cut(batch: Batch, lengths: Iterator[int]) -> Iterator[Chunk]:
    carried = Carried()
    assert isinstance(batch.targets, Ragged)
    both = torch.stack([batch.inputs.values, batch.targets.values], dim=1)
    for part in chunks(batch.inputs.with_values(both), lengths):
        x, y = (part.with_values(part.values[:, i].contiguous()) for i in range(2))
        yield Chunk(batch.rows, x, y, batch.weights, carried=carried)


def text_data(
    texts: Sequence[np.ndarray],
    ends: bool,
    pieces: int | None = None,
    weights: np.ndarray | None = None,
    **settings: Any,
) -> TextData:
    """Texts of token numbers: each starts after a mark and, with `ends`, is followed by one.

    pieces: a text is cut such that all texts together make about so many sequences side by side, where long texts are
        few; None: no text is cut. Every token is a target once. Where the ends of texts are not learnt, each piece
        starts after a mark too: the mark then says that what came before is not known.
    weights: (n,), of each text in the loss, brought to mean 1 over all tokens. settings: of `TextData`.
    """
    inputs, targets, origin = [], [], []
    total = sum(len(text) + ends for text in texts)
    longest = max(1, total if pieces is None else -(-total // pieces))
    for row, text in enumerate(texts):
        whole = np.concatenate([[END_ID], text, [END_ID] * ends])
        steps = len(whole) - 1
        bounds = np.linspace(0, steps, max(1, -(-steps // longest)) + 1).astype(np.int64)
        for a, b in pairwise(bounds.tolist()):
            x = whole[a:b].copy()
            if not ends and len(x):
                x[0] = END_ID
            inputs.append(x)
            targets.append(whole[a + 1 : b + 1])
            origin.append(row)
    x, y, rows = _ragged(inputs), _ragged(targets), torch.tensor(origin, dtype=torch.int64)
    scaled = None
    if weights is not None:
        own = torch.from_numpy(weights)[rows]
        total_weight = float((own * y.lengths).sum())
        if total_weight == 0:
            raise DataError("All texts of a part have sample_weight 0. Leave those texts out instead.")
        scaled = (own * (len(y.values) / total_weight)).float()
    return TextData(x, y, scaled, rows, **settings)


def _ragged(rows: Sequence[np.ndarray]) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    values = np.concatenate([np.zeros(0, dtype=np.int64), *rows]).astype(np.int64)
    return Ragged(torch.from_numpy(values), torch.from_numpy(offsets))
