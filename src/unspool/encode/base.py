"""What an encoder is: raw sequences to a Ragged of numbers and back, fitted on the training part only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from unspool.encode.reading import Raw
from unspool.ragged import Ragged
from unspool.saved.fields import Fields


class Input(ABC):
    """Base of the encoders. A new kind is a file with a subclass and a line in `unspool.encode.registry`.

    kind: its name. n_features: numbers a step that the network has; 1 for ids. vocabulary_size: the ids are below it;
    None for series and recordings.
    """

    kind: ClassVar[str]
    n_features: int = 1
    vocabulary_size: int | None = None

    @property
    def n_given(self) -> int:
        """Features a step of X; 1 for texts, ids and recordings."""
        return 1

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> Input:
        """An encoder, not yet fitted. settings: the estimator's parameters."""
        return cls()

    @abstractmethod
    def fit(self, raw: Raw) -> Input:
        """Learn from the sequences of the training part; `DataError` where there is nothing to learn."""

    def split(self, raw: Raw) -> Raw:
        """The same sequences in a form that `encode` takes as well, in which others can share its work."""
        return raw

    @abstractmethod
    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        """Ragged of ids (N,) int64 or numbers (N, F) float32; warn: tell of sequences that say nothing."""

    @abstractmethod
    def decode(self, batch: Ragged) -> list[Any]:
        """The sequences that `encode` turns into `batch`, one a row, as far as the numbers tell them."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for a summary."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """`kind` and what was learnt, as JSON values; `from_fields` reads it."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Fields) -> Input:
        """The encoder whose `to_dict` was saved; `ModelFileError` where the fields do not hold."""


def row_of(batch: Ragged, bad: Tensor) -> int:
    """The sequence in which the first bad step is; bad (N,) bool."""
    return int(np.searchsorted(batch.offsets.numpy(), int(bad.nonzero()[0]), side="right")) - 1
