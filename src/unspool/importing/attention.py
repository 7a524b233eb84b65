"""Keras' layers of attention without weights of their own, between the steps of one sequence or of two."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from unspool.errors import DataError
from unspool.importing.signal import Signal
from unspool.saved import Fields

SKIPPED = 1e9  # what Keras takes off the score of a step that is masked


class Attention(nn.Module):
    """Inputs query, value and maybe key (else the value): softmax over the value's steps of the scores, times them.

    how: the score of a query q and a key k: "dot": scale qᵀk (Luong et al. 2015, arXiv:1508.04025, eq. 8); "concat":
        weight Σ tanh(scale (q + k)); "additive": Σ scale ⊙ tanh(q + k) (Bahdanau et al. 2014, arXiv:1409.0473).
    scale: (size,), 1 or the width of a query. weight: a number, 1 but for "concat".
    """

    KINDS = ("dot", "concat", "additive")

    def __init__(self, how: str, size: int) -> None:
        super().__init__()
        self.how = how
        self.scale, self.weight = nn.Parameter(torch.ones(size)), nn.Parameter(torch.ones(1))

    @classmethod
    def from_fields(cls, fields: Fields) -> Attention:
        """The layer that a saved model describes."""
        size = fields.get("size", int)
        if not 1 <= size < 2**31:
            fields._bad("size", "an int in [1, 2**31)", size)
        return cls(fields.choice("how", cls.KINDS), size)

    def forward(self, query: Signal, value: Signal, key: Signal | None = None) -> Signal:
        """Steps (N, D) of the query; those that are skipped are 0 and stay skipped."""
        key = value if key is None else key
        asked, offered = query.steps("An attention's query"), value.steps("An attention's value")
        q, v, k = (signal.looked_up() for signal in (query, value, key))
        if key.offsets is None or not torch.equal(key.offsets, offered):
            raise DataError("An attention's key must have the steps of its value.")
        if len(asked) != len(offered) or q.shape[-1] != k.shape[-1]:
            raise DataError(
                f"An attention's query and key must have one width. Got {q.shape[-1]} and {k.shape[-1]}."
            )
        if self.how != "dot" and len(self.scale) not in (1, q.shape[-1]):
            raise DataError(f"This attention is for steps of {len(self.scale)} features. Got {q.shape[-1]}.")
        if bool(((asked.diff() > 0) & (offered.diff() == 0)).any()):
            raise DataError("An attention needs one step of its value at least. Got an empty sequence.")
        parts, ends = (
            [],
            zip(asked[:-1].tolist(), asked[1:].tolist(), offered[:-1].tolist(), offered[1:].tolist()),
        )
        for start, stop, first, last in ends:
            scores = self._scores(q[start:stop], k[first:last])
            if value.mask is not None:
                scores = scores - SKIPPED * ~value.mask[first:last]
            parts.append(scores.softmax(-1) @ v[first:last])
        found = torch.cat(parts) if parts else v.new_zeros(0, v.shape[-1])
        if query.mask is not None:
            found = found * query.mask[:, None]
        return replace(query, values=found, table=None)

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        """(Tq, Tv) of q (Tq, D) and k (Tv, D)."""
        if self.how == "dot":
            return q @ k.T * self.scale
        both = q[:, None] + k[None]
        if self.how == "concat":
            return self.weight * torch.tanh(self.scale * both).sum(-1)
        return (self.scale * torch.tanh(both)).sum(-1)
