"""`TextEncoder`: texts to a Ragged of numbers, fitted on the training part and saved with the model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.errors import DataError, InvalidParameterError, ModelFileError, check_choice, check_int
from unspool.ragged import Ragged
from unspool.saved.fields import checked
from unspool.text.words import PAD, UNKNOWN, UNKNOWN_ID, Split, Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

BEGIN, END = "<begin>", "<end>"
_TOGETHER = 8192  # texts that are checked at a time


class TextEncoder:
    """Numbers the words or characters of texts, the most frequent first, ties in alphabetical order.

    Number 0 is never produced (it is left for padding), 1 is an unknown word, 2 the most frequent one.

    Parameters
    ----------
    max_words : at most so many words (characters) are known, the most frequent ones.
    level : "word": words, and each punctuation mark by itself ("don't stop!" is don't, stop, !);
        "char": every character, spaces included.
    lower : lower-case the texts. Both levels compose characters (NFC); words read ’ as '.
    marks : put a begin and an end mark around each text, so that a model can learn where texts start and stop; their
        numbers, `begin_id` and `end_id`, are the two after the words.

    `unknown_texts_` holds how many texts of the last `encode` had no known word at all.
    """

    def __init__(
        self, max_words: int = 10000, level: str = "word", lower: bool = True, marks: bool = False
    ) -> None:
        self.max_words = check_int("TextEncoder", "max_words", max_words)
        self.level = check_choice("TextEncoder", "level", level, ("word", "char"))
        self.lower, self.marks = lower, marks
        self.words_: list[str] | None = None
        self._split: Words | _Characters = Words(lower) if level == "word" else _Characters(lower)

    def fit(self, texts: Sequence[str]) -> TextEncoder:
        """Learn the vocabulary of `texts`; `DataError` if they are not str or hold no word."""
        words = self._split.most_frequent(_check_texts(texts), self.max_words)
        if not words:
            raise DataError(
                f"None of the {len(texts)} texts holds a word. Check that this is the text column."
            )
        return self._know(words)

    def split(self, texts: Sequence[str]) -> Split:
        """The words of texts, known or not, which `encode` takes in their place; `DataError` by characters."""
        return self._by_words().split(_check_texts(texts))

    def encode(self, texts: Sequence[str] | Split) -> Ragged:
        """Ragged of (N,) int64, without padding; a text without any word is an empty sequence."""
        self._words()
        if isinstance(texts, Split):
            ids, offsets = texts.numbers(self._by_words().vocabulary, UNKNOWN_ID), texts.offsets
        else:
            ids, offsets = self._split.encode(_check_texts(texts))
        self.unknown_texts_ = without_known(ids, offsets)
        if self.marks:
            count = np.arange(len(offsets))
            ids = np.insert(ids, offsets[:-1], self.begin_id)
            ids = np.insert(ids, offsets[1:] + count[1:], self.end_id)
            offsets = offsets + 2 * count
        return Ragged(torch.from_numpy(ids), torch.from_numpy(offsets))

    def _by_words(self) -> Words:
        if isinstance(self._split, _Characters):
            raise DataError("A TextEncoder splits texts by level='word'. Got level='char'.")
        return self._split

    def decode(self, ids: Ragged) -> list[str]:
        """A text for each sequence of `ids` (N,): words joined by spaces, characters by nothing; without pads and
        marks, an unknown word as "<unk>". `DataError` for an id that is none of ours."""
        names = [PAD, UNKNOWN, *self._words(), BEGIN, END][: self.vocabulary_size]
        values = ids.values
        if len(values) and not (int(values.min()) >= 0 and int(values.max()) < len(names)):
            raise DataError(
                f"The ids must be in [0, {len(names)}), the vocabulary of this TextEncoder. "
                f"Got {int(values.min())} to {int(values.max())}."
            )
        silent = {0} | ({self.begin_id, self.end_id} if self.marks else set())
        joint = " " if self.level == "word" else ""
        return [joint.join(names[i] for i in row.tolist() if i not in silent) for row in ids]

    @property
    def begin_id(self) -> int:
        """The number of the begin mark, where there are marks."""
        return len(self._words()) + 2

    @property
    def end_id(self) -> int:
        """The number of the end mark, where there are marks."""
        return len(self._words()) + 3

    def tokens(self, text: str) -> list[str]:
        """The words (characters) of one text as `encode` sees them, known or not."""
        return self._split.tokens(*_check_texts([text]))

    def tokenizer(self) -> RustTokenizer:
        """The same numbers of texts by the tokenizers library alone, whose JSON other programs read. It has no marks.

        By characters, a capital Σ at the end of a word is σ there and ς here.
        """
        self._words()
        return self._split.tokenizer()

    @property
    def vocabulary_size(self) -> int:
        """Known words + 2, or + 4 with marks: the rows of an embedding that goes behind."""
        return len(self._words()) + (4 if self.marks else 2)

    def to_dict(self) -> dict[str, Any]:
        """Settings and words, as plain JSON-able types; `from_dict` reads it."""
        marks = {"marks": True} if self.marks else {}
        return {
            "max_words": self.max_words,
            "level": self.level,
            "lower": self.lower,
            **marks,
            "words": self._words(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> TextEncoder:
        """The encoder that `to_dict` wrote; `ModelFileError` where `state` is not such a dict."""
        state = {"marks": False, **state} if isinstance(state, dict) else state  # the first files have none
        kinds: dict[str, Any] = {"max_words": int, "level": str, "lower": bool, "marks": bool, "words": [str]}
        state = checked("TextEncoder", state, **kinds)
        words = state.pop("words")
        if not words or len({PAD, UNKNOWN, *words}) != len(words) + 2:
            raise ModelFileError("The words of the saved TextEncoder are missing or repeated. It is damaged.")
        if state["level"] == "char" and any(len(word) != 1 for word in words):
            raise ModelFileError("The saved TextEncoder has words where characters belong. It is damaged.")
        try:
            return cls(**state)._know(words)
        except InvalidParameterError as error:
            raise ModelFileError(f"The saved TextEncoder is damaged. {error}") from error

    def __repr__(self) -> str:
        size = "not fitted" if self.words_ is None else f"{len(self.words_)} known"
        return f"TextEncoder(max_words={self.max_words}, level={self.level!r}, lower={self.lower}; {size})"

    @property
    def words(self) -> list[str]:
        """The known words, in the order of their numbers, from 2 on; `DataError` before `fit`."""
        return list(self._words())

    def know(self, words: list[str]) -> TextEncoder:
        """Know these words, in this order, instead of those that `fit` found."""
        return self._know(words)

    def _know(self, words: list[str]) -> TextEncoder:
        self.words_ = words
        self._split.know(words)
        return self

    def _words(self) -> list[str]:
        if self.words_ is None:
            raise DataError("This TextEncoder has no vocabulary yet. Call fit first.")
        return self.words_


class _Characters:
    """Characters by one table from code point to number: 430,000 EmoBank texts/s, the Rust library 8,500."""

    def __init__(self, lower: bool) -> None:
        self.lower = lower

    def most_frequent(self, texts: Sequence[str], count: int) -> list[str]:
        codes, _ = self._codes(texts)
        points, counts = np.unique(codes, return_counts=True)
        return [chr(point) for point in points[np.argsort(-counts, kind="stable")][:count]]

    def know(self, words: list[str]) -> None:
        self.words = words
        points = [ord(word) for word in words]
        self.numbers = np.full(max(points) + 2, UNKNOWN_ID, dtype=np.int64)  # the last: any point beyond
        self.numbers[points] = np.arange(2, len(points) + 2)

    def tokenizer(self) -> RustTokenizer:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        numbers = {word: i for i, word in enumerate([PAD, UNKNOWN, *self.words])}
        rust = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
        steps = [normalizers.NFC(), *([normalizers.Lowercase()] if self.lower else [])]
        rust.normalizer = normalizers.Sequence(steps)
        rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        return rust

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        codes, lengths = self._codes(texts)
        return self.numbers[np.minimum(codes, len(self.numbers) - 1)], np.concatenate([[0], lengths.cumsum()])

    def tokens(self, text: str) -> list[str]:
        text = unicodedata.normalize("NFC", text)
        return list(text.lower() if self.lower else text)

    def _codes(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        split = ["".join(self.tokens(text)) for text in texts]
        lengths = np.fromiter(map(len, split), np.int64, len(split))
        return np.frombuffer("".join(split).encode("utf-32-le"), dtype=np.uint32), lengths


def without_known(ids: np.ndarray, offsets: np.ndarray) -> int:
    """How many sequences hold no known word; ids (N,) without marks, offsets (B + 1,)."""
    known = np.zeros(len(ids) + 1, np.int32 if len(ids) < 2**31 else np.int64)
    np.cumsum(ids != UNKNOWN_ID, out=known[1:])
    return int((known[offsets[1:]] == known[offsets[:-1]]).sum())


def _check_texts(texts: Any) -> list[str]:
    if isinstance(texts, str):
        raise DataError("Expected a list of texts. Got one text; put it in a list.")
    texts = list(texts)
    try:
        for start in range(0, len(texts), _TOGETHER):
            "".join(texts[start : start + _TOGETHER]).encode()
    except (TypeError, UnicodeEncodeError):
        _find_bad(texts)
    return texts


def _find_bad(texts: list[Any]) -> None:
    """`DataError` for the first that is no text."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"Text {i} must be a str. Got {type(text).__name__}: {text!r:.50}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"Text {i} is not valid Unicode ({error.reason}). Read the file as UTF-8."
            ) from error
