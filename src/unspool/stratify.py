"""Rows drawn class by class."""

from __future__ import annotations

import numpy as np


def stratified(
    classes: np.ndarray, size: int, random: np.random.RandomState | np.random.Generator
) -> np.ndarray:
    """`size` of the rows, sorted, with every class's share of them as nearly as whole rows allow (largest remainders).

    classes (n,). One row of each class is left out of the part as long as `size` can be had without it.
    """
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    quota = counts * (size / len(codes))
    taken = np.minimum(np.floor(quota).astype(np.int64), counts - 1)
    order = random.permutation(len(counts))
    order = order[np.argsort((taken - quota)[order], kind="stable")]
    missing = size - int(taken.sum())
    for room in (counts - 1, counts):
        while missing and (taken < room).any():
            more = order[(taken < room)[order]][:missing]
            taken[more] += 1
            missing -= len(more)
    shuffled = random.permutation(len(codes))
    grouped = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = counts.cumsum() - counts
    return np.sort(np.concatenate([grouped[s : s + t] for s, t in zip(starts, taken, strict=True)]))
