"""Two models' predictions as one: how much of each, found on rows that neither has learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from unspool.errors import DataError

PRIOR = 4.0  # rows that speak for the linear model alone, for when held-back rows are few


@dataclass(frozen=True)
class Blend:
    """outputs = first * a network + second * a linear model, a weight for each of K targets, or one of logits.

    share: of the network in the spread of the sum, 0 to 1, averaged over the targets.
    """

    first: np.ndarray  # (K,), or (1,) of logits
    second: np.ndarray
    share: float

    def __call__(self, network: np.ndarray, linear: np.ndarray) -> np.ndarray:
        """(n, K) from the outputs of both (n, K); of classes: logits."""
        return self.first * network + self.second * linear

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able types."""
        return {"first": self.first.tolist(), "second": self.second.tolist(), "share": self.share}


def blend_numbers(
    network: np.ndarray, linear: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Blend:
    """For each target the weights w and 1 - w, w in [0, 1], of least squared error less a standard error; all (n, K).

    With d = network - linear and r = y - linear, w = Σ d r / Σ d² - √(mean (r - w d)² / Σ d²): around the best w the
    error is flat, and what few held-back rows say for a network by chance does not bring it in.
    """
    weight = _checked(len(y), weight)[:, None]
    apart, missing = network - linear, y - linear
    size = (weight * apart**2).sum(0)
    size = np.where(size > 0, size, np.inf)
    best = (weight * apart * missing).sum(0) / size
    left = (weight * (missing - best * apart) ** 2).sum(0) / weight.sum()
    first = (best - np.sqrt(left / size)).clip(0, 1)
    return Blend(first, 1 - first, _share(first, 1 - first, network.std(0), linear.std(0)))


def blend_logits(
    network: np.ndarray, linear: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Blend:
    """The two weights, 0 or more, of the log-probabilities, of least cross-entropy; (n, K) logits, y (n,) classes.

    PRIOR (a² + (b - 1)²) / 2 is added to the sum over the rows.
    """
    weight = _checked(len(y), weight)
    a, b = scipy.special.log_softmax(network, 1), scipy.special.log_softmax(linear, 1)
    rows = np.arange(len(y))

    alone = np.array([0.0, 1.0])

    def loss(pair: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = scipy.special.log_softmax(pair[0] * a + pair[1] * b, 1)
        wrong = np.exp(mixed)
        wrong[rows, y] -= 1
        slope = np.array([float((weight[:, None] * wrong * part).sum()) for part in (a, b)])
        total = PRIOR * ((pair - alone) ** 2).sum() / 2 - float((weight * mixed[rows, y]).sum())
        return total / len(y), (slope + PRIOR * (pair - alone)) / len(y)

    found = scipy.optimize.minimize(
        loss, np.array([0.5, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0, 10)] * 2
    ).x
    first, second = found[:1], found[1:]
    return Blend(first, second, _share(first, second, a.std(1).mean(), b.std(1).mean()))


def blend_labels(
    network: np.ndarray, linear: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Blend:
    """As `blend_logits`, of the logits of C labels, y (n, C) of 0 and 1: one pair of weights for all."""
    weight = _checked(len(y), weight)[:, None] / y.shape[1]
    alone = np.array([0.0, 1.0])

    def loss(pair: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = pair[0] * network + pair[1] * linear
        wrong = weight * (scipy.special.expit(mixed) - y)
        slope = np.array([float((wrong * part).sum()) for part in (network, linear)])
        error = -float((weight * scipy.special.log_expit(np.where(y == 1, mixed, -mixed))).sum())
        return PRIOR * ((pair - alone) ** 2).sum() / 2 + error, slope + PRIOR * (pair - alone)

    found = scipy.optimize.minimize(
        loss, np.array([0.5, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0, 10)] * 2
    ).x
    first, second = found[:1], found[1:]
    return Blend(first, second, _share(first, second, network.std(0).mean(), linear.std(0).mean()))


def _checked(count: int, weight: np.ndarray | None) -> np.ndarray:
    if count < 2:
        raise DataError(f"A blend needs two held-back rows or more. Got {count}. Use blend=False.")
    return np.ones(count) if weight is None else np.asarray(weight, np.float64)


def _share(first: np.ndarray, second: np.ndarray, spread: Any, other: Any) -> float:
    mine, its = first * spread, second * other
    return float(np.mean(np.divide(mine, mine + its, out=np.full(len(mine), 0.5), where=mine + its > 0)))
