"""Texts to rows of TF-IDF, over the tokens of a text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from unspool.errors import DataError
from unspool.text import Split, TextEncoder

CHAR_GRAMS, WORD_GRAMS = (1, 5), (1, 2)
BLOCK = 2**15  # words that are counted at a time: the numbers of 20,000 short texts would be 20 MB
Texts = Sequence[str] | Split


@dataclass
class Rows:
    """Sparse rows (n, width): row i has values[offsets[i] : offsets[i + 1]] in the columns there, which ascend.

    values float64, columns and offsets int32. They answer without scipy.sparse, whose import takes a tenth of a second
    and 12 MB.
    """

    values: np.ndarray
    columns: np.ndarray
    offsets: np.ndarray
    width: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, matrix: scipy.sparse.csr_matrix) -> Rows:
        """Of scipy's form."""
        return cls(matrix.data, matrix.indices, matrix.indptr, matrix.shape[1])

    def csr(self) -> scipy.sparse.csr_matrix:
        """In scipy's form."""
        return scipy.sparse.csr_matrix((self.values, self.columns, self.offsets), (len(self), self.width))

    def owners(self) -> np.ndarray:
        """(N,): the row of each value."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def times(self, weights: np.ndarray) -> np.ndarray:
        """weights (width, K) -> (n, K): products added up from left to right, as scipy does, bit for bit."""
        rows = self.owners()
        found = [np.bincount(rows, self.values * each[self.columns], len(self)) for each in weights.T]
        return np.stack(found, 1).astype(np.float64, copy=False)  # of no value bincount makes whole numbers


class Terms:
    """Texts to rows of TF-IDF: 1-2-grams of the encoder's words, or 1-5-grams of the characters within words.

    Texts by words may come as what `TextEncoder.split` made of them.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.counts: WordCounts | CharacterCounts = (
            CharacterCounts(encoder) if encoder.level == "char" else WordCounts(encoder)
        )
        self.idf = np.zeros(0)  # (terms,)

    def fit(self, texts: Texts) -> scipy.sparse.csr_matrix:
        """Learn terms and their inverse document frequencies; the rows of these texts. `DataError` where the texts have
        no term."""
        from sklearn.feature_extraction.text import TfidfTransformer

        weighting = TfidfTransformer(sublinear_tf=True)
        rows = weighting.fit_transform(self.counts.fit(texts))
        self.idf = weighting.idf_
        return rows

    def transform(self, texts: Texts) -> scipy.sparse.csr_matrix:
        """(n, terms) float64, sublinear term frequencies x idf, rows of length 1."""
        return _together([rows.csr() for rows in self.blocks(texts)])

    def blocks(self, texts: Texts) -> Iterator[Rows]:
        """The rows of `transform`, of some texts at a time."""
        return (weighted(rows, self.idf) for rows in self.counts.blocks(texts))

    @property
    def names(self) -> list[str]:
        """The terms, in the order of the columns."""
        return self.counts.names

    @property
    def ngrams(self) -> tuple[int, int]:
        """The shortest and the longest n-gram."""
        return CHAR_GRAMS if self.encoder.level == "char" else WORD_GRAMS

    def restore(self, names: list[str], idf: np.ndarray) -> Terms:
        """As after the `fit` that had them."""
        self.counts.restore(names)
        self.idf = idf
        return self


def weighted(counts: Rows, idf: np.ndarray) -> Rows:
    """The counts, in place: (1 + ln count) idf, rows of length 1. Bit for bit what scikit-learn's `TfidfTransformer`
    gives, whose import takes a quarter of a second of every prediction that is started."""
    values, rows = counts.values, counts.owners()
    np.log(values, values)
    values += 1.0
    values *= idf[counts.columns]
    lengths = np.sqrt(np.bincount(rows, np.square(values), len(counts)))
    lengths[lengths == 0] = 1
    values /= lengths[rows]
    return counts


def _together(blocks: list[scipy.sparse.csr_matrix]) -> scipy.sparse.csr_matrix:
    return blocks[0] if len(blocks) == 1 else scipy.sparse.vstack(blocks, format="csr")


class WordCounts:
    """How often each word, and each pair of neighbours "a b", stands in a text.

    words: those of the terms, numbered from 0. single (words,): the term that a word is, or -1. pairs: first * words +
    second of each pair, ascending; double: the term that it is.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.names: list[str] = []

    def fit(self, texts: Texts) -> scipy.sparse.csr_matrix:
        """Learn the terms, in alphabetical order; the counts of these texts."""
        split = self._split(texts)
        found = []
        for part in split.blocks():
            together = part.codes[:-1].astype(np.int64) * len(split.names) + part.codes[1:]
            found.append(np.unique(together[_neighbours(part)]))
        different = np.unique(np.concatenate(found))
        pairs = zip(*(part.tolist() for part in divmod(different, len(split.names) or 1)))
        terms = [*split.names, *(f"{split.names[a]} {split.names[b]}" for a, b in pairs)]
        if not terms:
            raise DataError("The linear model finds no term in the texts: none of them holds a word.")
        self.restore(sorted(terms))
        return _together([rows.csr() for rows in self.blocks(split)])

    def restore(self, names: list[str]) -> None:
        """Know these terms, in this order."""
        self.names = names
        self.words: dict[str, int] = {}
        for name in names:
            for word in name.split(" "):
                self.words.setdefault(word, len(self.words))
        count = len(self.words)
        self.single = np.full(count, -1, np.int64)
        keys, double = [], []
        for term, name in enumerate(names):
            part = name.split(" ")
            if len(part) == 1:
                self.single[self.words[name]] = term
            elif len(part) == 2:
                keys.append(self.words[part[0]] * count + self.words[part[1]])
                double.append(term)
        self.pairs, self.double = np.array(keys, np.int64), np.array(double, np.int64)
        order = self.pairs.argsort()
        self.pairs, self.double = self.pairs[order], self.double[order]

    def blocks(self, texts: Texts) -> Iterator[Rows]:
        """Of some texts at a time, width the terms."""
        split = self._split(texts)
        numbers = split.numbers_of_names(self.words, -1)
        for part in split.blocks(BLOCK):
            yield self._count(part, numbers[part.codes])

    def _count(self, split: Split, word: np.ndarray) -> Rows:
        rows = np.repeat(np.arange(len(split)), np.diff(split.offsets))
        single = np.where(word < 0, -1, self.single[word])
        both = np.flatnonzero(_neighbours(split) & (word[:-1] >= 0) & (word[1:] >= 0))
        wanted = word[both] * len(self.words) + word[both + 1]
        order = wanted.argsort()  # a search for neighbours finds the way in the cache: twice as fast
        wanted, both = wanted[order], both[order]
        place = np.searchsorted(self.pairs, wanted)
        place[place == len(self.pairs)] = 0
        there = self.pairs[place] == wanted if len(self.pairs) else np.zeros(len(wanted), bool)
        both, double = both[there], self.double[place[there]]
        alone = np.flatnonzero(single >= 0)
        width = len(self.names)
        cells = np.sort(np.concatenate([rows[alone] * width + single[alone], rows[both] * width + double]))
        begins = np.flatnonzero(np.diff(cells, prepend=-1))
        counts = np.diff(begins, append=len(cells))
        row, column = np.divmod(cells[begins], width)
        ends = np.concatenate([[0], np.bincount(row, minlength=len(split)).cumsum()])
        return Rows(counts.astype(np.float64), column.astype(np.int32), ends.astype(np.int32), width)

    def _split(self, texts: Texts) -> Split:
        return texts if isinstance(texts, Split) else self.encoder.split(texts)


def _neighbours(split: Split) -> np.ndarray:
    """(N - 1,) bool: whether a word and the next stand in one text."""
    inside = np.ones(max(len(split.codes) - 1, 0), bool)
    ends = split.offsets[1:-1] - 1
    inside[ends[(ends >= 0) & (ends < len(inside))]] = False
    return inside


class CharacterCounts:
    """How often each run of characters within a word, spaces around it included, stands in a text."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.vectorizer = self._new(None)

    @property
    def names(self) -> list[str]:
        """The terms, in order."""
        return self.vectorizer.get_feature_names_out().tolist()

    def fit(self, texts: Texts) -> scipy.sparse.csr_matrix:
        """Learn the terms; the counts of these texts."""
        try:
            return self.vectorizer.fit_transform(texts)
        except ValueError as error:
            raise DataError(f"The linear model finds no term in the texts. {error}") from error

    def restore(self, names: list[str]) -> None:
        """Know these terms, in this order."""
        self.vectorizer = self._new(names)

    def blocks(self, texts: Texts) -> Iterator[Rows]:
        """Of all texts at once, width the terms."""
        yield Rows.of(self.vectorizer.transform(texts))

    def _new(self, names: list[str] | None) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(
            analyzer="char_wb",
            ngram_range=CHAR_GRAMS,
            preprocessor=self._characters,
            vocabulary=names,
            dtype=np.float64,
        )

    def _characters(self, text: str) -> str:
        return "".join(self.encoder.tokens(text))
