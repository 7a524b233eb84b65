"""Words to the ids of their characters, so that a model also sees how a word is spelt."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from unspool.errors import DataError, ModelFileError, check_int
from unspool.saved.fields import Fields

NONE, UNKNOWN, BEGIN, END = range(4)  # of a row of ids; known characters follow
FIRST = 4


class CharacterEncoder:
    """Numbers the characters of words: case is kept, composed forms (NFC) are one character.

    longest: characters of a word that are looked at. Of a longer word the first and the last are kept, half each.

    A row of `encode` is begin, the characters, end, and 0 up to `width`; ids are below `vocabulary_size`.
    """

    def __init__(self, longest: int = 20) -> None:
        self.longest = check_int("CharacterEncoder", "longest", longest, 2)
        self.characters_ = ""

    def fit(self, words: Iterable[str]) -> CharacterEncoder:
        """Learn the characters of the words of the training part, the most frequent first, ties in their order.

        `DataError` where there are none.
        """
        counts = Counter(c for word in words for c in unicodedata.normalize("NFC", word))
        if not counts:
            raise DataError("The words hold no character. Check that these are the words of the texts.")
        return self._know("".join(sorted(counts, key=lambda c: (-counts[c], c))))

    def encode(self, words: Sequence[str]) -> Tensor:
        """(len(words), width) int64; `DataError` before `fit`."""
        numbers = self._numbers()
        rows = torch.zeros(len(words), self.width, dtype=torch.int64, device="cpu")
        head, tail = self.longest - self.longest // 2, self.longest // 2
        for row, word in zip(rows.numpy(), words):
            word = unicodedata.normalize("NFC", word)
            if len(word) > self.longest:
                word = word[:head] + word[-tail:]
            ids = [BEGIN, *(numbers.get(c, UNKNOWN) for c in word), END]
            row[: len(ids)] = ids
        return rows

    def decode(self, rows: Tensor) -> list[str]:
        """The words of `rows` (W, width), as far as they were looked at; an unknown character as "�"."""
        names = ["", "\ufffd", "", "", *self._known()]
        return ["".join(names[i] for i in row) for row in rows.tolist()]

    @property
    def width(self) -> int:
        """Ids of a row."""
        return self.longest + 2

    @property
    def vocabulary_size(self) -> int:
        """Known characters + 4."""
        return len(self._known()) + FIRST

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_fields` reads it."""
        return {"longest": self.longest, "characters": self._known()}

    @classmethod
    def from_fields(cls, fields: Fields) -> CharacterEncoder:
        """The encoder whose `to_dict` was saved; `ModelFileError` where the fields do not hold."""
        longest, known = fields.get("longest", int), fields.get("characters", str)
        if not 2 <= longest <= 1000 or not known or len(set(known)) < len(known):
            raise ModelFileError("its characters must be one or more, all different, of words of 2 or more.")
        return cls(longest)._know(known)

    def _know(self, characters: str) -> CharacterEncoder:
        self.characters_ = characters
        return self

    def _known(self) -> str:
        if not self.characters_:
            raise DataError("This CharacterEncoder knows no characters yet. Call fit first.")
        return self.characters_

    def _numbers(self) -> dict[str, int]:
        return {c: i for i, c in enumerate(self._known(), FIRST)}


def numbered(words: Iterable[str]) -> tuple[list[int], list[str]]:
    """(for each word the number of its form, the distinct forms in the order of their numbers)."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(word, len(numbers)) for word in words], list(numbers)


def beside_ids(ids: Tensor, words: Sequence[str], encoder: CharacterEncoder) -> Tensor:
    """What `unspool.nn.WordsAndCharacters` takes at each step: (N, 2 + width) int64 of a word's id, the number of
    its form, the same for the same word, and its characters.

    ids (N,): of the words of a vocabulary. words: N strings, as written.
    """
    forms, distinct = numbered(words)
    number = torch.tensor(forms, dtype=torch.int64, device="cpu")
    return torch.cat([torch.stack([ids, number], 1), encoder.encode(distinct)[number]], 1)
