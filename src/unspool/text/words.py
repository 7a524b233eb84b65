"""Texts to words, as the Rust `tokenizers` library splits them: ASCII natively, the rest by the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, pairwise, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from unspool import _native

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

PAD, UNKNOWN = "<pad>", "<unk>"
UNKNOWN_ID = 1

# A Chinese character; a word, with inner apostrophes; any other mark. Combining marks stay with their base.
_WORD = r"\p{Han}\p{M}*|[\w&&[^\p{Han}]]+(?:'[\w&&[^\p{Han}]]+)*|[^\w\s]\p{M}*"
_KEPT, _LONGEST = 2**16, 40  # pieces whose words are remembered, and characters of such a piece
_CHARACTERS = 2**9  # of pieces that are split at a time


@dataclass(frozen=True)
class Split:
    """The words of B texts: names[codes[offsets[b] : offsets[b + 1]]] are those of text b.

    names: the different words. codes (N,) int32, offsets (B + 1,) int64.
    """

    names: list[str]
    codes: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def numbers(self, of: Mapping[str, int], unknown: int) -> np.ndarray:
        """(N,) int64: the number of each word."""
        return self.numbers_of_names(of, unknown)[self.codes]

    def numbers_of_names(self, of: Mapping[str, int], unknown: int) -> np.ndarray:
        """(names,) int64: the number of each different word."""
        return np.fromiter(map(of.get, self.names, repeat(unknown)), np.int64, len(self.names))

    def blocks(self, words: int = 2**20) -> Iterator[Split]:
        """The same texts, some at a time: of about so many words."""
        cuts = np.flatnonzero(np.diff(self.offsets[1:] // words)) + 1
        for start, end in pairwise([0, *cuts.tolist(), len(self)]):
            offsets = self.offsets[start : end + 1]
            yield Split(self.names, self.codes[offsets[0] : offsets[-1]], offsets - offsets[0])

    def take(self, rows: np.ndarray) -> Split:
        """The texts at `rows`, in that order, and no names of others."""
        lengths = np.diff(self.offsets)[rows]
        ends = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        places = np.repeat(self.offsets[:-1][rows] - ends[:-1], lengths) + np.arange(ends[-1])
        used, codes = np.unique(self.codes[places], return_inverse=True)
        return Split([self.names[code] for code in used.tolist()], codes.astype(np.int32), ends)

    def words(self) -> list[str]:
        """All N, one text's behind the other's."""
        return [self.names[code] for code in self.codes.tolist()]


class Words:
    """Words by the Rust library: normalise, split, look up.

    No word holds a space, and what is done to a text (NFC, lower case, the split) does not reach across one: so texts
    are cut at spaces. Pieces of ASCII are split natively, without Python's lock; of the others the library splits each
    different one once, and the words of short ones are remembered; without any, it is not loaded. Python's `re` knows
    no Unicode properties: its words break at every vowel sign of Hindi or Thai.
    """

    def __init__(self, lower: bool) -> None:
        self.lower = lower
        self.vocabulary: dict[str, int] = {}
        self._remembered: dict[str, list[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"lower": self.lower, "vocabulary": self.vocabulary, "_remembered": {}}

    @cached_property
    def rust(self) -> RustTokenizer:
        """The library's, of what splits alone."""
        return self._rust({})

    def _rust(self, vocabulary: dict[str, int]) -> RustTokenizer:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        steps = [normalizers.NFC(), normalizers.Replace("\u2019", "'")]
        made = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        made.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if self.lower else steps)
        made.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
        return made

    def most_frequent(self, texts: Sequence[str], count: int) -> list[str]:
        """At most `count` words of the texts, the most frequent first, ties in alphabetical order."""
        split = self.split(texts)
        often = np.bincount(split.codes, minlength=len(split.names)).tolist()
        ordered = sorted(zip(split.names, often), key=lambda word: (-word[1], word[0]))
        return [name for name, _ in ordered[:count]]

    def know(self, words: list[str]) -> None:
        """Number these, from 2 on."""
        self.vocabulary = {word: i for i, word in enumerate([PAD, UNKNOWN, *words])}

    def tokenizer(self) -> RustTokenizer:
        """The library's, which gives the same numbers."""
        return self._rust(self.vocabulary)

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids (N,) int64, offsets (B + 1,))."""
        split = self.split(texts)
        return split.numbers(self.vocabulary, UNKNOWN_ID), split.offsets

    def split(self, texts: Sequence[str]) -> Split:
        """The words, known or not."""
        names, odd, *found = _native.split_words(tuple(texts), self.lower)
        codes, offsets = (np.frombuffer(each, dtype) for each, dtype in zip(found, (np.int32, np.int64)))
        if not odd:
            return Split(names, codes, offsets)
        numbers = _Numbering(zip(names, range(len(names))))
        words = self._words_of(odd)
        counts = np.fromiter(chain(repeat(1, len(names)), map(len, words)), np.int64, len(names) + len(odd))
        rest = np.fromiter(map(numbers.__getitem__, chain.from_iterable(words)), np.int32)
        flat = np.concatenate(
            [np.arange(len(names), dtype=np.int32), rest]
        )  # the words of each name, of each piece
        pieces = np.where(codes < 0, len(names) + ~codes, codes)
        each = counts[pieces]
        before = np.concatenate([[0], each.cumsum()])
        places = np.repeat((counts.cumsum() - counts)[pieces] - before[:-1], each) + np.arange(before[-1])
        return Split(list(numbers), flat[places], before[offsets])

    def tokens(self, text: str) -> list[str]:
        """The words of one text."""
        normal = self.rust.normalizer.normalize_str(text)
        return [word for word, _ in self.rust.pre_tokenizer.pre_tokenize_str(normal)]

    def _words_of(self, pieces: list[str]) -> list[list[str]]:
        """Of each piece, remembered or split now."""
        known = [*map(self._remembered.get, pieces)]
        if None not in known:
            return known  # type: ignore[return-value]
        new = [piece for piece, words in zip(pieces, known) if words is None]
        split = iter(chain.from_iterable(map(self._split_pieces, _parts(new))))
        found = [next(split) if words is None else words for words in known]
        if len(self._remembered) + len(new) > _KEPT:
            self._remembered.clear()
        short = ((piece, words) for piece, words in zip(pieces, found) if len(piece) <= _LONGEST)
        self._remembered.update(islice(short, _KEPT))
        return found

    def _split_pieces(self, pieces: list[str]) -> list[list[str]]:
        """The words of each, of one text in which spaces are between them."""
        normal = self.rust.normalizer.normalize_str(" ".join(pieces))
        found = self.rust.pre_tokenizer.pre_tokenize_str(normal)
        spaces = np.flatnonzero(np.frombuffer(normal.encode("utf-32-le"), np.uint32) == ord(" "))
        begins = np.fromiter((span[0] for _, span in found), np.int64, len(found))
        ends = np.searchsorted(begins, spaces).tolist()
        words = [word for word, _ in found]
        return [words[a:b] for a, b in pairwise([0, *ends, len(words)])]


class _Numbering(dict[str, int]):
    """Texts to numbers in the order in which they are first asked for."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


def _parts(pieces: list[str]) -> Iterator[list[str]]:
    """Of some `_CHARACTERS` each."""
    ends = np.fromiter(map(len, pieces), np.int64, len(pieces)).cumsum() // _CHARACTERS
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(pieces)]
    return (pieces[a:b] for a, b in pairwise(cuts))
