"""The validation part."""

from __future__ import annotations

import numpy as np

from unspool.stratify import stratified


def split_rows(
    count: int, fraction: float, classes: np.ndarray | None, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, validation rows): `fraction` of `count` to validate, at least 1; fraction 0: none.

    Stratified by `classes` (count,): by scikit-learn where each class has two rows or more and each part room for every
    class, otherwise as nearly as can be (`unspool.stratify`).
    """
    rows = np.arange(count)
    if fraction == 0:
        return rows, rows[:0]
    size = min(max(1, round(count * fraction)), count - 1)
    stratify = None
    if classes is not None:
        sizes = np.unique(classes, return_counts=True)[1]
        if sizes.min() >= 2 and len(sizes) <= min(size, count - size):
            stratify = classes
        else:
            validation = stratified(classes, size, random)
            return np.setdiff1d(rows, validation), validation
    from sklearn.model_selection import train_test_split  # of fitting alone

    training, validation = train_test_split(rows, test_size=size, stratify=stratify, random_state=random)
    return np.sort(training), np.sort(validation)
