"""Kneser-Ney against the formula with dicts, and sums to one."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from unspool.errors import DataError
from unspool.generation import KneserNey

V = 5


def texts(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.RandomState(seed)
    return [rng.choice([2, 2, 2, 3, 3, 4], size=n) for n in (200, 1, 0, 90)]


def by_dicts(train: list[np.ndarray], order: int, ends: bool):
    """p(w | h), h a tuple of order - 1 tokens: Chen & Goodman's formula as it stands."""
    top: Counter[tuple[int, ...]] = Counter()
    for text in train:
        padded = [0] * (order - 1) + text.tolist() + [0] * ends
        for i in range(order - 1, len(padded)):
            top[tuple(padded[i - order + 1 : i + 1])] += 1
    counts = {order: top}
    for n in range(order - 1, 0, -1):
        counts[n] = Counter(gram[1:] for gram in {g[-n - 1 :] for g in top})

    def discounts(n: int) -> list[float]:
        n1, n2, n3, n4 = (sum(c == k for c in counts[n].values()) for k in (1, 2, 3, 4))
        if not n1 * n2 * n3 * n4:
            return [0, 0.5, 1.0, 1.5]
        y = n1 / (n1 + 2 * n2)
        raw = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return [0, *(d if 0 < d < k else k / 2 for k, d in enumerate(raw, 1))]

    @lru_cache(None)
    def p(w: int, h: tuple[int, ...]) -> float:
        n = len(h) + 1
        below = 1 / V if n == 1 else p(w, h[1:])
        after = {gram[-1]: c for gram, c in counts[n].items() if gram[:-1] == h}
        if not after:
            return below
        d = discounts(n)
        own = max(0, after.get(w, 0) - d[min(after.get(w, 0), 3)])
        left = sum(d[min(c, 3)] for c in after.values())
        return (own + left * below) / sum(after.values())

    return p


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_is_the_formula(order: int, ends: bool) -> None:
    model, p = KneserNey(order, V).fit(texts(), ends), by_dicts(texts(), order, ends)
    for text in texts(1):
        padded = [0] * (order - 1) + text.tolist() + [0] * ends
        expected = [
            math.log(p(padded[i], tuple(padded[i - order + 1 : i]))) for i in range(order - 1, len(padded))
        ]
        np.testing.assert_allclose(model.score(text, ends), expected, rtol=1e-9)


def test_probabilities_sum_to_one() -> None:
    model = KneserNey(3, V).fit(texts())
    for start in ([], [2], [2, 3], [4, 4], [1, 1]):
        last = [model.score(np.array([*start, w]))[-1] for w in range(V)]
        assert math.isclose(sum(map(math.exp, last)), 1, rel_tol=1e-9)


def test_by_hand() -> None:
    """2 3 2 3 2, order 1; too few counts to estimate other discounts than .5, 1 and 1.5."""
    model = KneserNey(1, 4).fit([np.array([2, 3, 2, 3, 2])])
    # counts 3 of token 2 and 2 of token 3; D(3) = 1.5, D(2) = 1; what is left, 2.5 of 5, over four tokens
    got = [math.exp(float(model.score(np.array([w]))[0])) for w in range(4)]
    np.testing.assert_allclose(got, [0.125, 0.125, (1.5 + 0.625) / 5, (1 + 0.625) / 5])


def test_limits() -> None:
    with pytest.raises(DataError, match="no number below 2"):
        KneserNey(6, 10000)
    with pytest.raises(DataError, match="at least one token"):
        KneserNey(2, 5).fit([np.zeros(0, dtype=np.int64)])
