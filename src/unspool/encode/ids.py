"""Token ids, as they come or, where few of a wide range occur, renumbered."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from unspool.encode.base import Input, row_of
from unspool.encode.reading import Raw
from unspool.errors import DataError, ModelFileError, warn_caller
from unspool.ragged import Ragged
from unspool.saved.fields import Fields

MAX_SIZE = 10_000_000  # rows of an embedding
WIDE = 100_000  # ids above are renumbered where fewer than a quarter of those below the largest occur
_FLOATS = "For a series of measurements pass floats."


class IdInput(Input):
    """Token ids. The vocabulary goes up to the largest id of the training part; where few of a wide range occur there,
    it has a row for each of them, `known` (V - 1,) sorted, and row 0 for all others."""

    kind: ClassVar[str] = "ids"
    vocabulary_size: int

    def __init__(self, vocabulary_size: int = 0, known: torch.Tensor | None = None) -> None:
        self.vocabulary_size, self.known = vocabulary_size, known

    def fit(self, raw: Raw) -> IdInput:
        ids = raw.data.values
        if ids.numel() == 0:
            raise DataError("Every training sequence is empty. Give at least one with a step in it.")
        _check_sign(raw.data)
        self.vocabulary_size, self.known = int(ids.max()) + 1, None
        if self.vocabulary_size > WIDE:
            known = ids.unique()
            if 4 * len(known) < self.vocabulary_size:
                self.known, self.vocabulary_size = known, len(known) + 1
        if self.vocabulary_size > MAX_SIZE:
            raise DataError(
                f"Integers are read as token ids: {self.vocabulary_size:,} of them would need "
                f"{self.vocabulary_size * 4 / 1e9:.1f} GB for each number of their vectors. "
                f"Give rare ids one in common, or hash them (id % 1_000_000). {_FLOATS}"
            )
        if _measured(raw.data):
            warn_caller(
                f"The integers of X are read as token ids, below {self.vocabulary_size:,}, but neighbours are near "
                f"each other, as in a series of measurements. {_FLOATS.replace('a series of ', '')}",
            )
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        _check_sign(raw.data)
        ids = raw.data.values
        if self.known is not None:
            place = torch.searchsorted(self.known, ids).clamp(max=len(self.known) - 1)
            found = self.known[place] == ids
            if warn and not bool(found.all()):
                warn_caller(
                    f"{int((~found).sum())} of {len(ids)} ids do not occur in training: they share one vector.",
                )
            return raw.data.with_values(torch.where(found, place + 1, 0))
        if ids.numel() and int(ids.max()) >= self.vocabulary_size:
            raise DataError(
                f"Token ids must be below {self.vocabulary_size}, the vocabulary of the training part. Got "
                f"{int(ids.max())} in sequence {row_of(raw.data, ids >= self.vocabulary_size)}. Give unknown "
                "tokens an id of their own that also occurs in training."
            )
        return raw.data

    def decode(self, batch: Ragged) -> list[list[int]]:
        """The ids; of those renumbered, -1 for one that does not occur in training."""
        if self.known is None:
            return [row.tolist() for row in batch]
        ids = torch.cat([self.known.new_tensor([-1]), self.known])
        return [ids[row].tolist() for row in batch]

    def describe(self) -> str:
        if self.known is None:
            return f"token ids below {self.vocabulary_size:,}"
        return f"{len(self.known):,} token ids up to {int(self.known[-1]):,}, renumbered"

    def to_dict(self) -> dict[str, Any]:
        known = {} if self.known is None else {"known": self.known.tolist()}
        return {"kind": self.kind, "vocabulary_size": self.vocabulary_size, **known}

    @classmethod
    def from_fields(cls, fields: Fields) -> IdInput:
        size = fields.get("vocabulary_size", int)
        if not 0 < size <= MAX_SIZE:
            raise ModelFileError(f"the vocabulary size must be in [1, {MAX_SIZE}]. Got {size}.")
        if "known" not in fields.data:
            return cls(size)
        known = fields.items("known", int, size - 1)
        if not known or known[0] < 0 or known[-1] >= 2**63 or known != sorted({*known}):
            raise ModelFileError("the known ids must be different and sorted, 0 or more.")
        return cls(size, torch.tensor(known, dtype=torch.int64))


def _check_sign(data: Ragged) -> None:
    ids = data.values
    if ids.numel() and int(ids.min()) < 0:
        raise DataError(
            f"Token ids must be 0 or more. Got {int(ids.min())} in sequence {row_of(data, ids < 0)}. {_FLOATS}"
        )


def _measured(data: Ragged) -> bool:
    """Whether the numbers look like measurements: many values, and neighbours in a sequence correlated (r > .7)."""
    values = data.values.double().numpy()
    inside = np.ones(max(len(values) - 1, 0), dtype=bool)
    cuts = data.offsets.numpy()[1:-1] - 1
    inside[cuts[(cuts >= 0) & (cuts < len(inside))]] = False
    a, b = values[:-1][inside], values[1:][inside]
    if len(a) < 100 or len(np.unique(values)) < 20 or a.std() == 0 or b.std() == 0:
        return False
    return float(np.corrcoef(a, b)[0, 1]) > 0.7
