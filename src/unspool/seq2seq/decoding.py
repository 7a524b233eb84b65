"""One token after the other: the likeliest of each step, or the likeliest texts of a beam, for many sources at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspool.generation.vocabulary import END_ID, UNKNOWN_ID
from unspool.nn.state import select
from unspool.ragged import Ragged
from unspool.seq2seq.attention import Memory
from unspool.seq2seq.network import EncoderDecoder
from unspool.seq2seq.pairs import PairData
from unspool.training.device import CPU


@dataclass
class Found:
    """A target: its tokens without the end mark, log p (with the end's, in nats), the score that it was ranked by, and
    whether it came to its end."""

    ids: list[int]
    log_probability: float
    score: float
    ended: bool


class Going:
    """The decoder at one step, for R rows of B sources, R / B for each: their states, and what they attend to. These
    are where the network is; tokens, and all that is decided by them, are on the CPU."""

    def __init__(self, network: EncoderDecoder, source: Ragged, each: int = 1) -> None:
        self.network, self.table = network, network.embedding.weight
        self.device = self.table.device
        self.memory: Memory
        self.memory, state = network.encode(source.to(self.device))
        self.state: list[Any] = [own[0] for own in state]
        if each > 1:
            self.state = select(self.state, torch.arange(len(source)).repeat_interleave(each))

    def step(self, ids: Tensor) -> Tensor:
        """The next token (R,) -> log p (R, V) float64 of the one after it; the unknown one is never chosen."""
        rows = self.table[ids.to(self.device)]
        scores, self.state = self.network.step(rows, self.memory, self.state)
        found = scores.to(CPU).double().log_softmax(1)
        found[:, UNKNOWN_ID] = -torch.inf
        return found

    def keep(self, rows: Tensor, sources: Tensor | None) -> None:
        """Go on with `rows` (K,) of the states, and of the `sources` alone, where not all go on."""
        self.state = select(self.state, rows)
        if sources is not None:
            self.memory = self.memory.select(sources.to(self.device))


def greedy(network: EncoderDecoder, source: Ragged, limit: int) -> list[Found]:
    """The likeliest token at each step, until the end or `limit` tokens; one for each of the sources (N,)."""
    found = [Found([], 0.0, 0.0, False) for _ in range(len(source))]
    rows = torch.arange(len(source))
    going = Going(network, source)
    ids = torch.full((len(source),), END_ID)
    for _ in range(limit):
        if not len(rows):
            break
        best = going.step(ids).max(1)
        for row, token, value in zip(rows.tolist(), best.indices.tolist(), best.values.tolist()):
            one = found[row]
            one.log_probability += value
            one.ended = token == END_ID
            if not one.ended:
                one.ids.append(token)
        ids = best.indices
        alive = (ids != END_ID).nonzero().squeeze(1)
        if len(alive) < len(rows):
            rows, ids = rows[alive], ids[alive]
            going.keep(alive, alive)
    for one in found:
        one.score = one.log_probability
    return found


def exact(network: EncoderDecoder, data: PairData) -> float:
    """The share of the pairs whose target is what `greedy` writes for the source."""
    right = 0
    with torch.inference_mode():
        for batch in data.prediction_batches():
            assert isinstance(batch.targets, Ragged)
            found = greedy(network, batch.inputs, int(batch.targets.lengths.max()))
            for one, target in zip(found, batch.targets.to_list(), strict=True):
                right += one.ended and one.ids == target[:-1].tolist()
    return right / len(data)
