"""Vectors of the texts themselves, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unspool.encode.cooccurrence import word_vectors
from unspool.errors import DataError
from unspool.ragged import Ragged


def ragged(*texts: list[int]) -> Ragged:
    return Ragged.from_list([torch.tensor(t, dtype=torch.long) for t in texts])


def by_hand(texts: list[list[int]], size: int, window: int) -> np.ndarray:
    """PPMI, word by word."""
    counts = np.zeros((size, size))
    for text in texts:
        for i, a in enumerate(text):
            for j, b in enumerate(text):
                if 0 < abs(i - j) <= window:
                    counts[a, b] += 1 / abs(i - j)
    total, often = counts.sum(), counts.sum(1)
    smooth = often**0.75 / (often**0.75).sum()
    found = np.zeros((size, size))
    for a in range(size):
        for b in range(size):
            if counts[a, b]:
                found[a, b] = max(0.0, np.log(counts[a, b] / total / (often[a] / total * smooth[b])))
    return found


@pytest.mark.parametrize("window", [1, 2, 5, 50])
def test_rows_are_the_factors_of_ppmi(window):
    random = np.random.default_rng(window)
    texts = [random.integers(1, 9, size=n).tolist() for n in (7, 1, 0, 12, 3, 30)]
    found = word_vectors(ragged(*texts), 10, 10, window)
    u, s, _ = np.linalg.svd(by_hand(texts, 10, window))
    expected = u * np.sqrt(s)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_words_that_stand_alike_are_near_each_other():
    # 2 and 3 stand between 4 and 5; 6 between 7 and 8
    texts = [[4, 2, 5], [4, 3, 5], [7, 6, 8]] * 5
    rows = word_vectors(ragged(*texts), 9, 4)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)
    assert rows[2] @ rows[3] > 0.99
    assert abs(rows[2] @ rows[6]) < 0.01


def test_nothing_to_count_gives_zeros_and_more_directions_than_words_too():
    assert not word_vectors(ragged([1], [], [2]), 4, 3).any()
    assert not word_vectors(ragged([], []), 4, 3).any()
    rows = word_vectors(ragged([0, 1], [1, 2]), 3, 7)
    assert rows.shape == (3, 7)
    assert rows[:, 0].any()
    assert not rows[:, 3:].any()


def test_ids_outside_the_vocabulary_are_refused():
    with pytest.raises(DataError, match=r"ids must be in \[0, 3\)\. Got 0 to 3"):
        word_vectors(ragged([0, 3]), 3, 2)
