"""Sequences of a request, and those of several requests joined: no padding, each request its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unspool.ragged import Ragged


@dataclass
class Rows:
    """Some sequences. texts: of a model of texts. values, lengths: of any other, ids (N,) int64 or numbers (N, F)
    float64, all steps one behind the other, and how many each sequence has. columns: name -> a value for each.
    options: parameters of the request, of models that have some."""

    texts: list[str] | None = None
    values: np.ndarray | None = None
    lengths: np.ndarray | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Sequences."""
        return len(self.texts if self.lengths is None else self.lengths)  # type: ignore[arg-type]

    @property
    def steps(self) -> int:
        """Of all sequences; characters of texts."""
        return sum(map(len, self.texts)) if self.texts is not None else int(self.lengths.sum())  # type: ignore[union-attr]

    def given(self, text_column: str | None) -> Any:
        """As `predict` of the model takes them."""
        X: Any = self.texts
        if self.values is not None and self.lengths is not None:
            offsets = np.concatenate([[0], np.cumsum(self.lengths)])
            X = Ragged(torch.from_numpy(self.values), torch.from_numpy(offsets))
        return X if text_column is None else {text_column: X, **self.columns}


def join(parts: Sequence[Rows]) -> Rows:
    """All of them, in this order; of one model."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: [v for part in parts for v in part.columns[name]] for name in parts[0].columns}
    if parts[0].texts is not None:
        return Rows(texts=[text for part in parts for text in part.texts or ()], columns=columns)
    values = np.concatenate([part.values for part in parts])
    return Rows(None, values, np.concatenate([part.lengths for part in parts]), columns)
