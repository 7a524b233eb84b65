"""Beam search for many sources at once; each one's beams and end depend on it alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unspool.generation.vocabulary import END_ID
from unspool.ragged import Ragged
from unspool.seq2seq.decoding import Found, Going
from unspool.seq2seq.network import EncoderDecoder

EARLY_STOPPING = (True, False, "never")


@dataclass(frozen=True)
class Beams:
    """How targets are looked for.

    num_beams: K, the targets that are gone on with at each step: the likeliest ones. One that comes to its end among
        the K likeliest candidates of a step is complete, and leaves the beam.
    length_penalty: complete ones are ranked by log p / tokens ** length_penalty, the end a token: 0: by probability;
        1: by the mean log p of a token; more: long ones first.
    early_stopping: when the search for a source ends. True: once K are complete. False: once the likeliest
        target that is not complete would not be among the `wanted` best if it ended now. "never": once none can ever
        be, however long it becomes. At `limit` tokens it ends anyway; targets without an end are then ranked as they
        are.
    wanted: the complete targets asked for, at most K.
    """

    num_beams: int
    limit: int
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    wanted: int = 1

    def score(self, log_probability: float, tokens: int) -> float:
        """What a target of so many tokens is ranked by."""
        return log_probability / tokens**self.length_penalty

    def attainable(self, log_probability: float, tokens: int) -> float:
        """The best that a target with so many tokens can be ranked by; log p only falls."""
        if self.early_stopping == "never" and self.length_penalty > 0:
            tokens = self.limit
        return self.score(log_probability, tokens)


@dataclass
class Complete:
    """The best complete targets of one source."""

    beams: Beams
    found: list[Found] = field(default_factory=list)

    def add(self, ids: list[int], log_probability: float, ended: bool = True) -> None:
        """Keep the K best."""
        tokens = max(1, len(ids) + ended)
        score = self.beams.score(log_probability, tokens)
        self.found.append(Found(ids, log_probability, score, ended))
        self.found = sorted(self.found, key=lambda f: -f.score)[: self.beams.num_beams]

    def done(self, best: float, tokens: int) -> bool:
        """Whether the search is over. best: log p of the likeliest that goes on; tokens: what it will have at least."""
        if best == -torch.inf:
            return True
        if self.beams.early_stopping is True:
            return len(self.found) == self.beams.num_beams
        if len(self.found) < self.beams.wanted:
            return False
        return self.found[self.beams.wanted - 1].score >= self.beams.attainable(best, tokens)


def beam_search(network: EncoderDecoder, source: Ragged, beams: Beams) -> list[list[Found]]:
    """The `wanted` best targets of each of B sources (N,), best first; fewer where there are not so many."""
    count, K = len(source), beams.num_beams
    complete = [Complete(beams) for _ in range(count)]
    rows = torch.arange(count)
    going = Going(network, source, K)
    ids = torch.full((count * K,), END_ID)
    history = torch.empty(count, K, 0, dtype=torch.int64)
    totals = torch.full((count, K), -torch.inf, dtype=torch.float64)
    totals[:, 0] = 0.0
    for step in range(beams.limit):
        if not len(rows):
            break
        found = going.step(ids)
        size = found.shape[1]
        sums = (totals[:, :, None] + found.view(len(rows), K, size)).flatten(1)
        best = sums.topk(2 * K)  # of K or more tokens each; at most K are ends
        parents, tokens = best.indices // size, best.indices % size
        ends = tokens == END_ID
        for row, rank in (ends[:, :K] & best.values[:, :K].isfinite()).nonzero().tolist():
            before = history[row, parents[row, rank]].tolist()
            complete[int(rows[row])].add(before, float(best.values[row, rank]))
        on = ends.to(torch.int8).argsort(dim=1, stable=True)[:, :K]  # no end, the likeliest first
        totals = best.values.gather(1, on).masked_fill(ends.gather(1, on), -torch.inf)
        parents, tokens = parents.gather(1, on), tokens.gather(1, on)
        history = torch.cat([_of_parents(history, parents), tokens[:, :, None]], 2)
        longer = min(step + 2, beams.limit)
        alive = torch.tensor(
            [
                not complete[row].done(likeliest, longer)
                for row, likeliest in zip(rows.tolist(), totals[:, 0].tolist())
            ],
            dtype=torch.bool,
        )
        kept = alive.nonzero().squeeze(1)
        states = (torch.arange(len(rows))[:, None] * K + parents)[kept].flatten()
        going.keep(states, None if len(kept) == len(rows) else kept)
        rows, totals, history, ids = rows[kept], totals[kept], history[kept], tokens[kept].flatten()
    for i, row in enumerate(rows.tolist()):
        for total, path in zip(totals[i].tolist(), history[i].tolist()):
            if total > -torch.inf:
                complete[row].add(path, total, ended=False)
    return [one.found[: beams.wanted] for one in complete]


def _of_parents(history: Tensor, parents: Tensor) -> Tensor:
    """(B, K, t): the tokens before, of each new one's parent."""
    return history.gather(1, parents[:, :, None].expand(-1, -1, history.shape[2]))
