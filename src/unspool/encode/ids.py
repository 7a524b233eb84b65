"""Token ids as they come."""

from __future__ import annotations

from typing import Any, ClassVar

from unspool.encode.base import Input, row_of
from unspool.encode.reading import Raw
from unspool.errors import DataError, ModelFileError
from unspool.ragged import Ragged
from unspool.saved.fields import Fields

MAX_ID = 10_000_000


class IdInput(Input):
    """Token ids as they come; the vocabulary goes up to the largest id of the training part."""

    kind: ClassVar[str] = "ids"
    vocabulary_size: int

    def __init__(self, vocabulary_size: int = 0) -> None:
        self.vocabulary_size = vocabulary_size

    def fit(self, raw: Raw) -> IdInput:
        ids = raw.data.values
        if ids.numel() == 0:
            raise DataError("Every training sequence is empty. Give at least one with a step in it.")
        self.vocabulary_size = int(ids.max()) + 1
        if self.vocabulary_size > MAX_ID:
            raise DataError(
                f"Integers are read as token ids, which must be below {MAX_ID:,}. Got {int(ids.max()):,}. "
                "For a series of measurements pass floats."
            )
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        ids = raw.data.values
        if ids.numel() and int(ids.min()) < 0:
            raise DataError(
                f"Token ids must be 0 or more. Got {int(ids.min())} in sequence {row_of(raw.data, ids < 0)}."
            )
        if ids.numel() and int(ids.max()) >= self.vocabulary_size:
            raise DataError(
                f"Token ids must be below {self.vocabulary_size}, the vocabulary of the training part. Got "
                f"{int(ids.max())} in sequence {row_of(raw.data, ids >= self.vocabulary_size)}. Give unknown "
                "tokens an id of their own that also occurs in training."
            )
        return raw.data

    def decode(self, batch: Ragged) -> list[list[int]]:
        return [row.tolist() for row in batch]

    def describe(self) -> str:
        return f"token ids below {self.vocabulary_size:,}"

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocabulary_size": self.vocabulary_size}

    @classmethod
    def from_fields(cls, fields: Fields) -> IdInput:
        size = fields.get("vocabulary_size", int)
        if not 0 < size <= MAX_ID:
            raise ModelFileError(f"the vocabulary size must be in [1, {MAX_ID}]. Got {size}.")
        return cls(size)
