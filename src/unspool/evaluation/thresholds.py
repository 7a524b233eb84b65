"""From which probability on a label is given."""

from __future__ import annotations

import numpy as np

FEWEST = 5  # held-back rows with and without a label, from which a threshold can be told
USUAL = 0.5


def best_thresholds(probabilities: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(C,): for each label the threshold of largest F1 on these rows; of equal ones the nearest to 0.5.

    probabilities, true (0 or 1): (n, C). A label that fewer than 5 rows have, or lack, keeps 0.5. Thresholds lie in
    the middle between two probabilities that occur.
    """
    found = np.full(true.shape[1], USUAL)
    for k, (share, label) in enumerate(zip(probabilities.T, true.T == 1, strict=True)):
        if min(label.sum(), (~label).sum()) >= FEWEST:
            found[k] = _best(share, label)
    return found


def _best(share: np.ndarray, label: np.ndarray) -> float:
    order = np.argsort(-share, kind="stable")
    sorted_share, hits = share[order], label[order].cumsum()
    given = np.arange(1, len(share) + 1)
    f1 = 2 * hits / (given + label.sum())
    # A cut between equal probabilities is none.
    last = np.append(sorted_share[:-1] > sorted_share[1:], True)
    between = np.append((sorted_share[:-1] + sorted_share[1:]) / 2, sorted_share[-1] / 2)
    best = last & (f1 >= f1[last].max() - 1e-12)
    return float(between[best][np.abs(between[best] - USUAL).argmin()])
