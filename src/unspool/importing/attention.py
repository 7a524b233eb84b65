"""Keras' layers of attention, between the steps of one sequence or of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from unspool.errors import DataError, ModelFileError
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
        _check_steps(asked, offered, key)
        if q.shape[-1] != k.shape[-1]:
            raise DataError(
                f"An attention's query and key must have one width. Got {q.shape[-1]} and {k.shape[-1]}."
            )
        if self.how != "dot" and len(self.scale) not in (1, q.shape[-1]):
            raise DataError(f"This attention is for steps of {len(self.scale)} features. Got {q.shape[-1]}.")
        parts = []
        for start, stop, first, last in _ends(asked, offered):
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


class MultiHead(nn.Module):
    """Inputs query, value and maybe key (else the value): W_o of all heads' softmax(q kᵀ / √size) v, with a projection
    and a bias of q, k and v each (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2).

    causal: a step of the query meets only the steps up to its own. Steps of the value, or key, that are skipped meet
    none; skipped ones of the query meet all alike, and stay skipped. widths: of query, key, value and output.
    """

    def __init__(
        self, heads: int, size: int, value_size: int, widths: list[int], bias: bool, causal: bool
    ) -> None:
        super().__init__()
        self.heads, self.size, self.causal = heads, size, causal
        query, key, value, output = widths
        self.query, self.key = nn.Linear(query, heads * size, bias), nn.Linear(key, heads * size, bias)
        self.value, self.output = (
            nn.Linear(value, heads * value_size, bias),
            nn.Linear(heads * value_size, output, bias),
        )

    @classmethod
    def from_fields(cls, fields: Fields) -> MultiHead:
        """The layer that a saved model describes."""
        sizes = [fields.get(name, int) for name in ("heads", "size", "value_size")]
        widths = fields.items("widths", int, 4)
        if not all(1 <= size < 2**24 for size in (*sizes, *widths)):
            raise ModelFileError(f"{fields.where} must have sizes in [1, 2**24). Got {sizes} and {widths}.")
        return cls(sizes[0], sizes[1], sizes[2], widths, fields.get("bias", bool), fields.get("causal", bool))

    def forward(self, query: Signal, value: Signal, key: Signal | None = None) -> Signal:
        """Steps (N, F) of the query -> (N, output)."""
        key = value if key is None else key
        asked, offered = query.steps("An attention's query"), value.steps("An attention's value")
        _check_steps(asked, offered, key)
        read = [signal.looked_up() for signal in (query, key, value)]
        for layer, steps in zip((self.query, self.key, self.value), read):
            if steps.shape[-1] != layer.in_features:
                raise DataError(
                    f"This attention is for steps of {layer.in_features} features. Got {steps.shape[-1]}."
                )
        # (heads, N, size)
        q, k, v = (
            layer(steps).unflatten(-1, (self.heads, -1)).transpose(0, 1)
            for layer, steps in zip((self.query, self.key, self.value), read)
        )
        masks = [signal.mask for signal in (value, key) if signal.mask is not None]
        parts = []
        for start, stop, first, last in _ends(asked, offered):
            scores = q[:, start:stop] @ k[:, first:last].transpose(1, 2) / self.size**0.5  # (heads, Tq, Tv)
            met = torch.ones(scores.shape[1:], dtype=torch.bool)
            for mask in masks:
                met = met & mask[first:last]
            if self.causal:
                met = met.tril()
            if query.mask is not None:
                met = met & query.mask[start:stop, None]
            parts.append(scores.masked_fill(~met, -SKIPPED).softmax(-1) @ v[:, first:last])
        found = torch.cat(parts, 1) if parts else v[:, :0]
        return query.with_values(self.output(found.transpose(0, 1).flatten(1)))


def _check_steps(asked: Tensor, offered: Tensor, key: Signal) -> None:
    if key.offsets is None or not torch.equal(key.offsets, offered):
        raise DataError("An attention's key must have the steps of its value.")
    if len(asked) != len(offered):
        raise DataError(
            f"An attention's query and value must be of as many sequences. Got {len(asked) - 1} and {len(offered) - 1}."
        )
    if bool(((asked.diff() > 0) & (offered.diff() == 0)).any()):
        raise DataError("An attention needs one step of its value at least. Got an empty sequence.")


def _ends(asked: Tensor, offered: Tensor) -> Iterator[tuple[int, int, int, int]]:
    """Where the steps of each sequence begin and end, those of the query and those of the value."""
    return zip(asked[:-1].tolist(), asked[1:].tolist(), offered[:-1].tolist(), offered[1:].tolist())
