"""The classic Keras `Tokenizer`: words to numbers by frequency, with its arguments, attributes and results.

Plain Python, for two reasons. On the 10,062 EmoBank texts (88 characters each, 2 busy cores) this file turns
100,000 texts/s into sequences (the original: 55,000), the Rust `tokenizers` library 30,000 with the same
rules as a regular expression and 57,000 with a bare split on white space. And that library lower-cases letter
by letter, so a word that ends in a capital sigma comes out otherwise than from `str.lower`.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unspool.errors import DataError, ModelFileError, bad_parameter, check_choice
from unspool.saved.fields import checked

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_NO_WORD = sys.maxsize


def text_to_word_sequence(
    text: str, filters: str = FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """The words of `text`: lower-cased, each character of `filters` replaced by `split`, then split there."""
    if lower:
        text = text.lower()
    if filters:
        text = _any_of("".join(filters)).sub(split.replace("\\", r"\\"), text)
    return [word for word in text.split(split) if word]


@lru_cache(maxsize=64)
def _any_of(characters: str) -> re.Pattern[str]:
    return re.compile("[" + re.escape(characters) + "]")


class Tokenizer:
    """Numbers the words of texts by frequency, from 1; 0 is left for padding.

    Parameters
    ----------
    num_words : only the `num_words - 1` most frequent words are used; None uses all.
    filters : characters that separate words, besides `split`; the apostrophe is not among the default ones.
    lower : lower-case the texts.
    split : the separator of words.
    char_level : every character is a word.
    oov_token : takes number 1 and stands for every unknown word; None drops unknown words.

    A text may also be a list of words. Attributes after fitting: `word_counts`, `word_docs` (texts that hold
    the word), `word_index`, `index_word`, `index_docs`, `document_count`.
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | float | None = None,
        *,
        document_count: int = 0,
    ) -> None:
        if not isinstance(oov_token, (str, int, float, type(None))):
            bad_parameter("Tokenizer", "oov_token", "a str, a number or None", oov_token)
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.document_count = document_count
        self.word_counts: Counter[str] = Counter()
        self.word_docs: Counter[str] = Counter()
        self.index_docs: Counter[int] = Counter()
        self.word_index: dict[Any, int] = {}
        self.index_word: dict[int, Any] = {}

    def fit_on_texts(self, texts: Iterable[str | list[str]]) -> None:
        """Count the words of `texts` and number them anew; further calls add to the counts."""
        for words in self._words(texts):
            self.document_count += 1
            self.word_counts.update(words)
            self.word_docs.update(dict.fromkeys(words, 1))
        by_count = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        first = [] if self.oov_token is None else [self.oov_token]
        self.word_index = {word: i for i, word in enumerate([*first, *by_count], start=1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences: Sequence[Iterable[int]]) -> None:
        """Count the documents of each number, which is what `sequences_to_matrix(mode="tfidf")` needs."""
        self.document_count += len(sequences)
        for sequence in sequences:
            self.index_docs.update(set(sequence))

    def texts_to_sequences(self, texts: Iterable[str | list[str]]) -> list[list[int]]:
        """The numbers of the words of each text."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[str | list[str]]) -> Iterator[list[int]]:
        """`texts_to_sequences`, one text at a time."""
        number, limit = self.word_index.get, self.num_words or _NO_WORD
        unknown = self._unknown()
        for words in self._words(texts):
            if unknown is None:
                yield [i for word in words if (i := number(word, _NO_WORD)) < limit]
            else:
                yield [i if (i := number(word, _NO_WORD)) < limit else unknown for word in words]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The words of each sequence of numbers, joined by spaces."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """`sequences_to_texts`, one sequence at a time."""
        limit = self.num_words or _NO_WORD
        unknown = None if self._unknown() is None else self.oov_token
        for sequence in sequences:
            words = (self.index_word.get(i, unknown) if i < limit else unknown for i in sequence)
            yield " ".join(str(word) for word in words if word is not None)

    def texts_to_matrix(self, texts: Iterable[str | list[str]], mode: str = "binary") -> NDArray[np.float64]:
        """`sequences_to_matrix` of the texts' sequences."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(
        self, sequences: Sequence[Sequence[int]], mode: str = "binary"
    ) -> NDArray[np.float64]:
        """(B, num_words) float64, or (B, number of words + 1) without `num_words`.

        `mode`: "binary" 1 where the word occurs, "count", "freq" count over the sequence's length, "tfidf"
        (1 + log count) * log(1 + document_count / (1 + documents with the word)).
        Raises `DataError` before fitting, where that leaves the width or the document counts unknown.
        """
        check_choice("sequences_to_matrix", "mode", mode, ("binary", "count", "tfidf", "freq"))
        if not self.num_words and not self.word_index:
            raise DataError("The width of the matrix is unknown. Give num_words, or fit on texts first.")
        if mode == "tfidf" and not self.document_count:
            raise DataError("tfidf needs document counts. Fit on texts or sequences first.")
        width = self.num_words or len(self.word_index) + 1

        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        numbers = np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum())
        rows = np.repeat(np.arange(len(sequences)), lengths)
        if len(numbers) and numbers.min() < 0:
            raise DataError(f"The numbers of words start at 0. Got {numbers.min()}.")
        inside = numbers < width
        cells, counts = np.unique(rows[inside] * width + numbers[inside], return_counts=True)
        if mode == "binary":
            weights = np.ones(len(cells))
        elif mode == "count":
            weights = counts.astype(np.float64)
        elif mode == "freq":
            weights = counts / lengths[cells // width]
        else:
            documents = np.array([self.index_docs.get(i, 0) for i in (cells % width).tolist()])
            weights = (1 + np.log(counts)) * np.log(1 + self.document_count / (1 + documents))
        matrix = np.zeros((len(sequences), width))
        matrix.flat[cells] = weights
        return matrix

    # --- saving

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON-able types; `from_dict` reads it."""
        return {
            **self._settings(),
            "word_counts": dict(self.word_counts),
            "word_docs": dict(self.word_docs),
            "index_docs": {str(i): count for i, count in self.index_docs.items()},
            "word_index": {str(word): i for word, i in self.word_index.items()},
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Tokenizer:
        """The tokenizer that `to_dict` wrote; `ModelFileError` where `state` is not such a dict."""
        state = checked(
            "Tokenizer",
            state,
            num_words=(int, type(None)),
            filters=(str, list),
            lower=bool,
            split=str,
            char_level=bool,
            oov_token=(str, int, float, bool, type(None)),
            document_count=int,
            word_counts={str: int},
            word_docs={str: int},
            index_docs={int: int},
            word_index={str: int},
        )
        counts = {name: state.pop(name) for name in ("word_counts", "word_docs", "index_docs", "word_index")}
        tokenizer = cls(**state)
        tokenizer.word_counts.update(counts["word_counts"])
        tokenizer.word_docs.update(counts["word_docs"])
        tokenizer.index_docs.update({int(i): count for i, count in counts["index_docs"].items()})
        tokenizer.word_index = dict(counts["word_index"])
        if tokenizer.word_index and not isinstance(tokenizer.oov_token, (str, type(None))):
            # The keys of JSON are texts; this one always has number 1.
            words = {word: i for word, i in tokenizer.word_index.items() if i != 1}
            tokenizer.word_index = {tokenizer.oov_token: 1, **words}
        tokenizer.index_word = {i: word for word, i in tokenizer.word_index.items()}
        return tokenizer

    def get_config(self) -> dict[str, Any]:
        """The classic configuration: settings, and each table as a JSON string."""
        tables = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
        return {**self._settings(), **{name: json.dumps(getattr(self, name)) for name in tables}}

    def to_json(self, **kwargs: Any) -> str:
        """The classic JSON form, which `tokenizer_from_json` reads; `kwargs` go to `json.dumps`."""
        return json.dumps({"class_name": "Tokenizer", "config": self.get_config()}, **kwargs)

    # --- helpers

    def _settings(self) -> dict[str, Any]:
        names = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
        return {name: getattr(self, name) for name in names}

    def _unknown(self) -> int | None:
        """The number of `oov_token`, or None where there is no such token."""
        if self.oov_token is None:
            return None
        if self.oov_token not in self.word_index:
            raise DataError("The tokenizer has an oov_token but no words yet. Call fit_on_texts first.")
        return self.word_index[self.oov_token]

    def _words(self, texts: Iterable[str | list[str]]) -> Iterator[Sequence[str]]:
        if isinstance(texts, str):
            raise DataError("Expected a list of texts. Got one text; put it in a list.")
        for i, text in enumerate(texts):
            if isinstance(text, list):
                yield [word.lower() for word in text] if self.lower else text
            elif not isinstance(text, str):
                raise DataError(f"Text {i} must be a str or a list of str. Got {type(text).__name__}.")
            elif self.char_level:
                yield text.lower() if self.lower else text
            else:
                yield text_to_word_sequence(text, self.filters, self.lower, self.split)


def tokenizer_from_json(text: str) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_json`, ours or Keras', wrote; `ModelFileError` if it is damaged."""
    try:
        config = dict(json.loads(text)["config"])
        tables = ("word_counts", "word_docs", "index_docs", "word_index")
        state = {**config, **{name: json.loads(config[name]) for name in tables}}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"This is not the JSON of a Tokenizer ({error!r}).") from error
    state.pop("index_word", None)
    return Tokenizer.from_dict(state)
