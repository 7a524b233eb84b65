"""Attention of one batch of sequences over another, sequence by sequence; no step of one weighs on another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unspool.errors import check_choice
from unspool.ragged import Ragged
from unspool.seq2seq.settings import ATTENTIONS


@dataclass
class Memory:
    """What B sequences are attended by, in a block of S steps, the longest's (1 where all are empty).

    keys (B, S, A), values (B, S, D): zeros where a sequence has no step. absent (B, S) bool: True there, but for the
    first step of an empty sequence, which is so attended as zeros; None: every step is real.
    """

    keys: Tensor
    values: Tensor
    absent: Tensor | None

    def select(self, rows: Tensor) -> Memory:
        """The memory of `rows` (K,) ints, in their order."""
        values = self.values.index_select(0, rows)
        keys = values if self.keys is self.values else self.keys.index_select(0, rows)
        return Memory(keys, values, None if self.absent is None else self.absent.index_select(0, rows))


class Attention(nn.Module):
    """c_t = Σ_j a_tj m_j over the steps j of a sequence's memory, a_t = softmax_j e(s_t, m_j).

    kind: "multiplicative": e = sᵀ W m (Luong, Pham & Manning 2015, arXiv:1508.04025, eq. 8, "general");
        "additive": e = vᵀ tanh(W s + U m + b) (Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, section 3.1).
    query_size, memory_size: numbers of s and of m. size: numbers of v; additive alone.

    A batch is one product of blocks. Steps that a shorter sequence has not get the weight 0 exactly.
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, size: int) -> None:
        super().__init__()
        self.kind = check_choice("Attention", "kind", kind, ATTENTIONS)
        if kind == "multiplicative":
            self.query = nn.Linear(query_size, memory_size, bias=False)
        else:
            self.query = nn.Linear(query_size, size)
            self.key = nn.Linear(memory_size, size, bias=False)
            self.energy = nn.Linear(size, 1, bias=False)

    def memory(self, encoded: Ragged) -> Memory:
        """The memory of B sequences; encoded (N, D)."""
        lengths = encoded.lengths
        longest = max(1, int(lengths.max()) if len(encoded) else 1)
        values = encoded.to_padded(length=longest)
        absent = None
        if bool((lengths < longest).any()):
            absent = ~encoded.mask(length=longest)
            absent[:, 0] = False
        if self.kind == "multiplicative":
            return Memory(values, values, absent)
        keys = encoded.with_values(self.key(encoded.values)).to_padded(length=longest)
        return Memory(keys, values, absent)

    def weights(self, queries: Tensor, memory: Memory) -> Tensor:
        """(B, T, S): for each of the queries (B, T, Q) a weight of each step; they sum to 1."""
        projected = self.query(queries)
        if self.kind == "multiplicative":
            energies = torch.bmm(projected, memory.keys.transpose(1, 2))
        else:
            both = torch.tanh(projected[:, :, None] + memory.keys[:, None])  # (B, T, S, A)
            energies = self.energy(both).squeeze(3)
        if memory.absent is not None:
            energies = energies.masked_fill(memory.absent[:, None], -torch.inf)
        return energies.softmax(2)

    def forward(self, queries: Ragged, memory: Memory) -> Tensor:
        """(N, D): the context of each of the queries (N, Q), of B sequences."""
        longest = int(queries.lengths.max()) if len(queries) else 0
        context = self.contexts(queries.to_padded(length=longest), memory)
        rows = queries.mask(length=longest).flatten().nonzero().squeeze(1)
        return context.flatten(0, 1).index_select(0, rows)

    def contexts(self, queries: Tensor, memory: Memory) -> Tensor:
        """(B, T, D), of queries (B, T, Q)."""
        return torch.bmm(self.weights(queries, memory), memory.values)

    def extra_repr(self) -> str:
        """The kind."""
        return repr(self.kind)
