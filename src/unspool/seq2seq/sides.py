"""One side of the pairs: its texts to token numbers and exactly back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.generation.vocabulary import LEVELS, UNKNOWN_ID, Vocabulary, vocabulary_from_fields
from unspool.saved import Fields


class Side:
    """A vocabulary, and a space before each text of words or subwords, so that its first one is as any other."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.before = _before(vocabulary.level)

    @classmethod
    def fit(cls, what: str, texts: Sequence[str], level: str, size: int) -> Side:
        """Learn the vocabulary of the training part; `DataError` where it holds no token. what: the side's name."""
        if not any(texts):
            raise DataError(
                f"The {what} texts to train on hold no token. Check that this is the right column."
            )
        before = _before(level)
        return cls(LEVELS[level].fit([before + text for text in texts if text], size))

    def __len__(self) -> int:
        """Token numbers are below it."""
        return len(self.vocabulary)

    @property
    def level(self) -> str:
        """The kind of token."""
        return self.vocabulary.level

    def encode(self, text: str) -> np.ndarray:
        """(n,) int64; none for an empty text."""
        return self.vocabulary.encode(self.before + text) if text else np.zeros(0, dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text."""
        return self.vocabulary.decode(ids).removeprefix(self.before)

    def tokens(self, text: str) -> list[str]:
        """Each token as it is shown; an unknown one as "<unk>"."""
        return [self.vocabulary.decode([i]).removeprefix(self.before) for i in self.encode(text).tolist()]

    def unknown(self, ids: np.ndarray) -> int:
        """How many are the unknown token."""
        return int((ids == UNKNOWN_ID).sum())

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_fields` reads it."""
        return self.vocabulary.to_dict()

    @classmethod
    def from_fields(cls, fields: Fields) -> Side:
        """The side whose `to_dict` was saved; `ModelFileError` where the fields do not hold."""
        return cls(vocabulary_from_fields(fields))


def _before(level: str) -> str:
    return "" if level == "char" else " "
