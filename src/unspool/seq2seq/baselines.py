"""What a model must beat: the target of the nearest training source, and a translation token by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from unspool.generation.vocabulary import FIRST_ID
from unspool.seq2seq.sides import Side

ROWS = 512  # texts that are compared with the training part at once
LINKS = 2**23  # pairs of tokens that are counted, at most; further training pairs are left out
ROUNDS = 8


class NearestPair:
    """The target of the training source with the largest cosine of TF-IDF, of characters by 1 to 3; the first of equal
    ones. A text that shares nothing with any has the target of the first."""

    name = "nearest training pair"

    def fit(self, X: Sequence[str], y: Sequence[str]) -> NearestPair:
        """Learn the training part."""
        self.targets = list(y)
        # A mark at both ends, so that an empty text has a token too.
        self.tfidf = TfidfVectorizer(
            analyzer="char",
            ngram_range=(1, 3),
            lowercase=False,
            sublinear_tf=True,
            preprocessor="\0{}\0".format,
        )
        self.table = self.tfidf.fit_transform(X)
        return self

    def predict(self, X: Sequence[str]) -> list[str]:
        """The text for each of X."""
        found: list[str] = []
        for start in range(0, len(X), ROWS):
            near = self.tfidf.transform(X[start : start + ROWS]) @ self.table.T
            found += [self.targets[i] for i in np.asarray(near.argmax(1)).ravel()]
        return found


class TokenByToken:
    """For each source token the target token that most likely stands for it, wherever the two stand (IBM model 1, Brown
    et al. 1993, section 4.2.1), and nothing for a token that fewer target tokens stand for than half its number.

    Where both sides have the same tokens, this is what copies a text.
    """

    name = "token by token"

    def __init__(self, source: Side, target: Side) -> None:
        self.source, self.target = source, target

    def fit(self, X: Sequence[str], y: Sequence[str]) -> TokenByToken:
        """Learn from the training part."""
        size = len(self.target)
        links, rows, seen = [], [], 0
        counts = np.zeros(len(self.source), dtype=np.int64)
        for source, target in zip(map(self.source.encode, X), map(self.target.encode, y)):
            if seen + len(source) * len(target) > LINKS:
                break
            # By target token: the links among which each of them is shared out.
            links.append((source[None, :] * size + target[:, None]).ravel())
            rows.append(np.repeat(len(source), len(target)))
            counts += np.bincount(source, minlength=len(counts))
            seen += len(source) * len(target)
        self.best = np.full(len(counts), -1)
        if not seen:
            return self
        kinds, link = np.unique(np.concatenate(links), return_inverse=True)
        widths = np.concatenate(rows)
        token = np.repeat(np.arange(len(widths)), widths)
        probability: np.ndarray = np.ones(len(kinds))
        total: np.ndarray = np.zeros(len(counts))
        for _ in range(ROUNDS):
            each = probability[link]
            each /= np.bincount(token, each, minlength=len(widths))[token]
            probability = np.bincount(link, each, minlength=len(kinds))
            total = np.bincount(kinds // size, probability, minlength=len(counts))
            probability = probability / total[kinds // size]
        fertile = total >= 0.5 * counts
        order = np.lexsort((probability, kinds // size))  # the last of each source token is its likeliest
        self.best[kinds[order] // size] = kinds[order] % size
        self.best[~fertile] = -1
        return self

    def predict(self, X: Sequence[str]) -> list[str]:
        """The text for each of X."""
        found = [self.best[self.source.encode(text)] for text in X]
        return [self.target.decode(ids[ids >= FIRST_ID].tolist()) for ids in found]
