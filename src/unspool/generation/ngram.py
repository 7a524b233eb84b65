"""The baseline of a language model: interpolated modified Kneser-Ney over token numbers, by counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unspool.errors import DataError, check_int
from unspool.generation.vocabulary import END_ID, Vocabulary


class KneserNey:
    """p(w | h) of n-grams, h the n - 1 tokens before w (Chen & Goodman 1999, section 3; `fit`, then `score`).

        p_n(w | h) = max(0, c(h w) - D(c(h w))) / c(h) + γ(h) p_{n-1}(w | h without its first token)
        γ(h) = (D1 N1(h ·) + D2 N2(h ·) + D3 N3+(h ·)) / c(h)

    Of the highest order c counts occurrences, below it the different tokens that come before (so also of contexts).
    p_0 is uniform over the vocabulary. D1, D2, D3+ of each order follow from how many n-grams have the counts 1 to 4
    (equation 26 there, where it gives usable ones). A context that never came leaves all to the order below.

    order: n, at least 1. Texts begin with n - 1 marks. vocabulary_size ** order must be below 2^63.
    """

    def __init__(self, order: int, vocabulary_size: int) -> None:
        self.order = check_int("KneserNey", "order", order)
        self.size = check_int("KneserNey", "vocabulary_size", vocabulary_size)
        if self.size**self.order >= 2**63:
            raise DataError(
                f"{self.order}-grams of {self.size} tokens have no number below 2^63. Take a smaller order."
            )

    def fit(self, texts: Sequence[np.ndarray], ends: bool = False) -> KneserNey:
        """Count texts of token numbers; ends: each is followed by a mark."""
        grams = np.concatenate([self._grams(text, ends) for text in texts])
        if not len(grams):
            raise DataError("KneserNey needs at least one token to count. Got none.")
        found, counts = np.unique(grams, return_counts=True)
        self.levels = [_Level(found, counts, self.size)]
        for n in range(self.order - 1, 0, -1):
            # A gram without its first token, once for each token that came before it.
            found, counts = np.unique(self.levels[0].grams % self.size**n, return_counts=True)
            self.levels.insert(0, _Level(found, counts, self.size))
        return self

    def score(self, text: np.ndarray, ends: bool = False) -> np.ndarray:
        """log p of each token of a text, and with `ends` of the mark after it, in nats."""
        grams = self._grams(text, ends)
        p = np.full(len(grams), 1.0 / self.size)
        for n, level in enumerate(self.levels, 1):
            p = level.mixed(grams % self.size**n, p)
        return np.log(p)

    def _grams(self, text: np.ndarray, ends: bool) -> np.ndarray:
        """The number of the n-gram that ends at each token, to the base of the vocabulary's size."""
        n = self.order
        padded = np.concatenate([[END_ID] * (n - 1), text, [END_ID] * ends]).astype(np.int64)
        count = len(padded) - n + 1
        grams = np.zeros(count, dtype=np.int64)
        for i in range(n):
            grams = grams * self.size + padded[i : i + count]
        return grams


def baseline(texts: Sequence[np.ndarray], vocabulary_size: int, ends: bool) -> KneserNey:
    """Of the order, up to 7, that is best on the last 5 % of the texts, or of one text, when fitted on the rest; then
    fitted on all."""
    if len(texts) == 1:
        cut = max(1, len(texts[0]) - len(texts[0]) // 20)
        parts = [texts[0][:cut]], [texts[0][cut:]]
    else:
        cut = len(texts) - max(1, len(texts) // 20)
        parts = list(texts[:cut]), list(texts[cut:])
    best, least = 1, np.inf
    for order in range(1, 8):
        if vocabulary_size**order >= 2**63:
            break
        model = KneserNey(order, vocabulary_size).fit(parts[0], ends)
        loss = -sum(float(model.score(text, ends).sum()) for text in parts[1])
        if loss < least:
            best, least = order, loss
    return KneserNey(best, vocabulary_size).fit(texts, ends)


def measured_baseline(
    vocabulary: Vocabulary, texts: Sequence[str], ends: bool
) -> tuple[str, Callable[[Sequence[str]], dict[str, float]]]:
    """(its name, what measures it): `baseline` of the vocabulary's tokens, fitted on texts.

    What measures takes other texts and gives nats_per_token, perplexity and bits_per_character.
    """
    grams = baseline([vocabulary.encode(text) for text in texts], len(vocabulary), ends)

    def measure(held: Sequence[str]) -> dict[str, float]:
        logs = [grams.score(vocabulary.encode(text), ends) for text in held]
        loss, tokens = -sum(float(row.sum()) for row in logs), sum(map(len, logs))
        return {
            "nats_per_token": loss / tokens,
            "perplexity": float(np.exp(loss / tokens)),
            "bits_per_character": loss / max(1, sum(map(len, held))) / float(np.log(2)),
        }

    return f"{grams.order}-grams, Kneser-Ney", measure


class _Level:
    """The n-grams of one order, sorted, with counts, and what their contexts (the grams without the last) have."""

    def __init__(self, grams: np.ndarray, counts: np.ndarray, size: int) -> None:
        self.grams, self.counts, self.size = grams, counts, size
        self.discounts = _discounts(counts)
        kept = self.discounts[np.minimum(counts, 3)]
        self.contexts, starts = np.unique(grams // size, return_index=True)
        self.totals = np.add.reduceat(counts, starts)
        self.left = np.add.reduceat(np.minimum(kept, counts), starts)

    def mixed(self, grams: np.ndarray, below: np.ndarray) -> np.ndarray:
        """p of the last token of each gram; below: p of the order below."""
        at, there = _find(self.contexts, grams // self.size)
        place, known = _find(self.grams, grams)
        counts = np.where(known, self.counts[place], 0)
        own = np.maximum(0.0, counts - self.discounts[np.minimum(counts, 3)])
        return np.where(there, (own + self.left[at] * below) / self.totals[at], below)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """(0, D1, D2, D3+); half the count for one that the counts of counts do not give, or give outside (0, count)."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in range(1, 5))
    found = [0.0, 0.5, 1.0, 1.5]
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        for k, ratio in ((1, n2 / n1), (2, n3 / n2), (3, n4 / n3)):
            estimate = k - (k + 1) * y * ratio
            found[k] = estimate if 0 < estimate < k else found[k]
    return np.array(found)


def _find(sorted_numbers: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the place of each, whether it is there)."""
    at = np.minimum(np.searchsorted(sorted_numbers, wanted), len(sorted_numbers) - 1)
    return at, sorted_numbers[at] == wanted
