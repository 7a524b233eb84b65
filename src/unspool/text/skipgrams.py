"""The classic `skipgrams` and `make_sampling_table`: pairs of words for word vectors (Mikolov et al. 2013)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unspool.errors import check_float, check_int


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> NDArray[np.float64]:
    """(size,): the probability of keeping the word of each rank, as word2vec thins out frequent words.

    A word of rank r > 0 has frequency f = 1 / (r (log r + 0.577) + 1/2 - 1 / (12 r)) in Zipf's law, and is kept with
    min(1, sqrt(sampling_factor / f)); rank 0 counts as 1. Raises `InvalidParameterError` for a size below 1 or a factor
    that is not positive.
    """
    check_int("make_sampling_table", "size", size)
    check_float("make_sampling_table", "sampling_factor", sampling_factor, 0, float("inf"), "neither")
    rank = np.maximum(np.arange(size, dtype=np.float64), 1)
    once_in = rank * (np.log(rank) + 0.577) + 0.5 - 1 / (12 * rank)
    return np.minimum(1.0, np.sqrt(sampling_factor * once_in))


def skipgrams(
    sequence: Sequence[int],
    vocabulary_size: int,
    window_size: int = 4,
    negative_samples: float = 1.0,
    shuffle: bool = True,
    categorical: bool = False,
    sampling_table: Sequence[float] | None = None,
    seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Pairs [word, neighbour] of one text, and for each 1, or 0 where the neighbour is drawn at random.

    Parameters
    ----------
    sequence : numbers of words; 0 is no word, and skipped.
    vocabulary_size : the drawn neighbours are in [1, vocabulary_size).
    window_size : the most steps between a word and its neighbour.
    negative_samples : drawn pairs for each true one.
    shuffle : mix the pairs; otherwise the true ones come first, in the order of the text.
    categorical : labels [0, 1] and [1, 0] in the place of 1 and 0.
    sampling_table : the probability of keeping each word as the first of pairs, see `make_sampling_table`.
    seed : of all that is drawn; None: Python's `random` as it stands.
    """
    check_int("skipgrams", "window_size", window_size, 0)
    check_float("skipgrams", "negative_samples", negative_samples, 0, float("inf"), "left")
    source: Any = random if seed is None else random.Random(seed)
    pairs: list[list[int]] = []
    for place, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < source.random()):
            continue
        start = max(0, place - window_size)
        near = enumerate(sequence[start : place + window_size + 1], start)
        pairs += [[word, other] for where, other in near if other and where != place]
    yes, no = ([0, 1], [1, 0]) if categorical else (1, 0)
    labels: list[Any] = [yes] * len(pairs)
    drawn = int(len(pairs) * negative_samples)
    if drawn:
        check_int("skipgrams", "vocabulary_size", vocabulary_size, 2)
        words = [word for word, _ in pairs]
        source.shuffle(words)
        pairs += [[words[i % len(words)], source.randint(1, vocabulary_size - 1)] for i in range(drawn)]
        labels += [no] * drawn
    if shuffle:
        order = list(range(len(pairs)))
        source.shuffle(order)
        pairs, labels = [pairs[i] for i in order], [labels[i] for i in order]
    return pairs, labels
