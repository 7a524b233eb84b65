"""Texts that come in pieces: a token that a cut goes through is held back until it ends."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.streaming.feeds import Feed
from unspool.text import TextEncoder

LONGEST = 1 << 16  # characters of a token that are held
NONE = "\0"  # of characters: nothing came before


class Words(Feed):
    """Pieces of a text to the ids that the whole text has, `TextEncoder(level="word")`.

    What is held is the text from the last place on at which a token ends whatever follows: before white space, before a
    Chinese character, and before any mark but an apostrophe.
    """

    def __init__(self, encoder: TextEncoder, table: Tensor) -> None:
        self.encoder, self.table = encoder, table
        self._ends: Callable[[str], bool] = lru_cache(1 << 16)(self._ends_a_token)

    def _ends_a_token(self, character: str) -> bool:
        """Whether what comes before `character` cannot go on in it."""
        return len(self.encoder.tokens(f"a{character}a")) > 1

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        text, rest = self._cut(checked(chunk), held)
        return self.ids([text])[0], rest, False

    def read_all(
        self, chunks: Sequence[Any], held: Sequence[str]
    ) -> tuple[Tensor, list[int], list[str], list[bool]]:
        cut = [self._cut(checked(chunk), before) for chunk, before in zip(chunks, held)]
        ids, lengths = self.ids([text for text, _ in cut])
        return ids, lengths, [rest for _, rest in cut], [False] * len(cut)

    def ids(self, texts: Sequence[str]) -> tuple[Tensor, list[int]]:
        """Those of these texts, and the number of each."""
        ids = self.encoder.encode(texts)
        return ids.values, ids.lengths.tolist()

    def nothing(self) -> str:
        return ""

    def finish(self, held: str) -> Tensor:
        return self.ids([held])[0]

    def check_held(self, held: str) -> None:
        if len(held) > LONGEST or (held and self._cut(held, "")[0]):
            raise DataError("The text in the state is not an unfinished token.")

    def _cut(self, text: str, held: str) -> tuple[str, str]:
        """(what has ended, what is held)."""
        whole, first = held + text, len(held)
        for place in range(len(whole) - 1, max(first, 1) - 1, -1):
            if self._ends(whole[place]):
                space = whole[place].isspace()
                return whole[:place], whole[place + space :]
        if first == 0 and whole and whole[0].isspace():
            whole = whole[1:]
        return "", check_length(whole)


class Characters(Feed):
    """Pieces of a text to the ids that the whole text has, `TextEncoder(level="char")`.

    The last character is held, as the next one may compose with it, and a capital sigma for as long as it is open
    whether it ends a word. held: the last character before that decides about a sigma to come, or NONE, then the text.
    """

    def __init__(self, encoder: TextEncoder, table: Tensor) -> None:
        self.encoder, self.table = encoder, table

    def read(self, chunk: Any, held: str) -> tuple[Tensor, str, bool]:
        before, text = held[:1], held[1:] + checked(chunk)
        cut = next((i for i in range(len(text) - 1, -1, -1) if not joins(text[i])), 0)
        if self.encoder.lower:
            cut = self._before_open_sigma(text, cut)
        return self._ids(before, text, cut), self._after(before, text[:cut]) + check_length(text[cut:]), False

    def nothing(self) -> str:
        return ""

    def finish(self, held: str) -> Tensor:
        return self._ids(held[:1], held[1:], len(held) - 1 if held else 0)

    def check_held(self, held: str) -> None:
        if len(held) > LONGEST + 1:
            raise DataError("The text in the state is not an unfinished character.")

    @staticmethod
    def _before_open_sigma(text: str, cut: int) -> int:
        """`cut`, or the place of a capital sigma before it of which no letter tells yet whether it ends a word."""
        for place in range(len(text) - 1, -1, -1):
            if text[place] == "\u03a3":
                cut = min(cut, place)
            elif not passed_over(text[place]):
                break
        return cut

    def _ids(self, before: str, text: str, cut: int) -> Tensor:
        if not cut:
            return torch.zeros(0, dtype=torch.int64)
        if not self.encoder.lower or "\u03a3" not in text:
            return self.encoder.encode([text[:cut]]).values
        context = before.replace(NONE, "")
        left = len(self.encoder.tokens(context)) if context else 0
        right = len(self.encoder.tokens(text[cut:])) if cut < len(text) else 0
        ids = self.encoder.encode([context + text]).values
        return ids[left : len(ids) - right]

    def _after(self, before: str, text: str) -> str:
        if not self.encoder.lower:
            return NONE
        composed = unicodedata.normalize("NFC", text)
        return next((c for c in reversed(composed) if not passed_over(c)), before or NONE)


def checked(chunk: Any) -> str:
    """`chunk` if it is a str of whole characters; else `DataError`."""
    if not isinstance(chunk, str):
        raise DataError(f"This model reads texts: push a str. Got {type(chunk).__name__}: {chunk!r:.50}.")
    try:
        chunk.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"The text is not valid Unicode ({error.reason}). Read it as UTF-8.") from error
    return chunk


def check_length(held: str) -> str:
    """`held`; `DataError` where it is longer than any token."""
    if len(held) > LONGEST:
        raise DataError(
            f"A token of more than {LONGEST:,} characters does not end. Put spaces between words."
        )
    return held


@lru_cache(1 << 16)
def joins(character: str) -> bool:
    """Whether composing (NFC) may join `character`, or a part of it, with what comes before."""
    parts = unicodedata.normalize("NFD", character)
    return unicodedata.combining(parts[0]) != 0 or parts[0] in _second_parts()


@cache
def _second_parts() -> frozenset[str]:
    """Characters that are the second part of a composed one (Unicode Standard Annex 15)."""
    found = {chr(c) for c in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # of Korean syllables
    for point in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return frozenset(found)


@lru_cache(1 << 12)
def passed_over(character: str) -> bool:
    """Whether `character` is passed over in the search for the letters around a capital sigma (case-ignorable)."""
    sigma = "A\u03a3" + character
    return (sigma + "A").lower()[1] == "\u03c3" and sigma.lower()[1] == "\u03c2"
