"""The network of a tagger: scores of tags at each step, and of labels of the whole sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.estimators.network import SequenceNetwork
from unspool.heads import CRF, DenseHead, Pooling
from unspool.ragged import Ragged

UNKNOWN = -1  # a tag or label that is not known, in targets


@dataclass(frozen=True)
class Targets:
    """tags: a Ragged (N,) of int64; labels (B,) of int64. Indexed as a Ragged is."""

    tags: Ragged
    labels: Tensor

    @property
    def values(self) -> Tensor:
        """The tags (N,), over which the mean loss is."""
        return self.tags.values

    @property
    def parts(self) -> tuple[Ragged, Tensor]:
        """Both."""
        return self.tags, self.labels

    def __len__(self) -> int:
        return len(self.tags)

    def to(self, device: torch.device) -> Targets:
        """Both on a device."""
        return Targets(self.tags.to(device), self.labels.to(device))

    def __getitem__(self, key: Any) -> Any:
        """A row as one tensor, several as `Targets`."""
        if isinstance(key, int):
            return torch.cat([self.tags[key], self.labels[key : key + 1]])
        return Targets(self.tags[key], self.labels[key])


@dataclass(frozen=True)
class Outputs:
    """emissions: a Ragged (N, K) of scores of tags; labels (B, C) of labels, or None; crf: on top, or None."""

    emissions: Ragged
    labels: Tensor | None = None
    crf: CRF | None = None

    def __getitem__(self, key: Any) -> Any:
        """A row as one tensor, several as `Outputs`."""
        if isinstance(key, int):
            row = self.emissions[key].flatten()
            return row if self.labels is None else torch.cat([row, self.labels[key]])
        return Outputs(self.emissions[key], None if self.labels is None else self.labels[key], self.crf)

    def best(self) -> Ragged:
        """The numbers of the tags, a Ragged (N,): of the best path, or at each step."""
        if self.crf is not None:
            return self.crf.decode(self.emissions)
        return self.emissions.with_values(self.emissions.values.argmax(1))

    def probabilities(self) -> Ragged:
        """A Ragged (N, K) of float64, of each tag at each step: under a CRF its marginals."""
        if self.crf is not None:
            return self.crf.marginals(self.emissions)
        return self.emissions.with_values(self.emissions.values.double().softmax(1))


class TaggerNetwork(SequenceNetwork):
    """A Ragged of tokens, as `TokenInput` gives it, -> `Outputs`.

    tags: K. crf: with a CRF on top; legal, first, last: see `unspool.heads.CRF`. labels: C, of the whole sentence; 0:
    none. pooling, dense: of the labels' head. settings: of `SequenceNetwork`.
    """

    def __init__(
        self,
        *,
        tags: int,
        crf: bool,
        allowed: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
        labels: int = 0,
        pooling: str = "mean+max",
        dense: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        super().__init__(output_size=tags, per_step=True, pooling="last", dense=(), **settings)
        self.crf = CRF(tags, *(allowed or (None, None, None))) if crf else None
        self.pooled = self.label_head = None
        if labels:
            self.pooled = Pooling(pooling, self.stack.output_size)
            self.label_head = DenseHead(self.pooled.output_size, labels, dense, settings["dropout"])

    def forward(self, x: Ragged, columns: Tensor | None = None) -> Any:
        """x: a batch of B sentences -> `Outputs`."""
        output, state = self.recurrent(x)
        labels = None
        if self.pooled is not None and self.label_head is not None:
            last = self.stack.final_output(output, state) if "last" in self.pooled.names else None
            labels = self.label_head(self.pooled(output, state, last))
        return Outputs(self.head(output), labels, self.crf)


@dataclass(frozen=True)
class TagLoss:
    """The mean over the tokens of -log p of their tags, of whole paths under a CRF; and label_weight times that of the
    labels, a mean over the sentences. What is not known counts for nothing.

    class_weight (K,): of each token by its tag, without a CRF."""

    label_weight: float = 1.0
    class_weight: Tensor | None = None

    def __call__(self, outputs: Outputs, targets: Ragged | Targets, weights: Tensor | None = None) -> Tensor:
        """A scalar. weights (B,): of the sentences, None: 1."""
        return self.of_share(outputs, targets, weights, targets)

    def of_share(
        self,
        outputs: Outputs,
        targets: Ragged | Targets,
        weights: Tensor | None,
        whole: Ragged | Targets,
    ) -> Tensor:
        """What these sentences add to the loss of a batch whose targets are `whole`."""
        tokens = max(1, len(whole.values))
        tags = targets.tags if isinstance(targets, Targets) else targets
        if outputs.crf is not None and weights is None:
            loss = -outputs.crf(outputs.emissions, tags, "sum") / tokens
        else:
            if outputs.crf is not None:
                total = -self._weighted(outputs.crf(outputs.emissions, tags, "none"), weights)
            else:
                scores, weigh = outputs.emissions.values, self.class_weight
                each = F.cross_entropy(
                    scores,
                    tags.values,
                    None if weigh is None else weigh.to(scores.device),
                    ignore_index=UNKNOWN,
                    reduction="none",
                )
                of_tokens = (
                    None
                    if weights is None
                    else torch.repeat_interleave(
                        weights, tags.lengths.to(weights.device), output_size=len(tags.values)
                    )
                )
                total = self._weighted(each, of_tokens)
            loss = total / tokens
        if outputs.labels is None or not isinstance(targets, Targets):
            return loss
        own = F.cross_entropy(outputs.labels, targets.labels, ignore_index=UNKNOWN, reduction="none")
        return loss + self.label_weight * self._weighted(own, weights) / max(1, len(whole))

    @staticmethod
    def _weighted(each: Tensor, weights: Tensor | None) -> Tensor:
        return each.sum() if weights is None else (each * weights).sum()
