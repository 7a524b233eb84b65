"""Two models' predictions as one: how much of each, found on rows that neither has learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax

from unspool.errors import DataError


@dataclass(frozen=True)
class Blend:
    """outputs = first * a network + second * a linear model + bias, a number for each of K targets, or of logits.

    share: of the network in the spread of the sum, 0 to 1, averaged over the targets.
    """

    first: np.ndarray  # (K,), or (1,) of logits
    second: np.ndarray
    bias: np.ndarray
    share: float

    def __call__(self, network: np.ndarray, linear: np.ndarray) -> np.ndarray:
        """(n, K) from the outputs of both (n, K); of classes: log-probabilities before softmax."""
        return self.first * network + self.second * linear + self.bias

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able types."""
        arrays = {name: getattr(self, name).tolist() for name in ("first", "second", "bias")}
        return {**arrays, "share": self.share}


def blend_numbers(
    network: np.ndarray, linear: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Blend:
    """For each target the two weights, 0 or more, and the bias of least squared error; all (n, K)."""
    root = _root(len(y), weight)
    pairs, shares = [], []
    mean = (root**2)[:, None] / (root**2).sum()
    for k in range(y.shape[1]):
        both = np.stack([network[:, k], linear[:, k]], 1)
        center, target = (mean * both).sum(0), float((mean[:, 0] * y[:, k]).sum())
        found, _ = nnls(root[:, None] * (both - center), root * (y[:, k] - target))
        pairs.append([*found, target - found @ center])
        shares.append(_share(found, both.std(0)))
    first, second, bias = np.array(pairs).T
    return Blend(first, second, bias, float(np.mean(shares)))


def blend_logits(
    network: np.ndarray, linear: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Blend:
    """The two weights, 0 or more, of the log-probabilities, of least cross-entropy; (n, K) logits, y (n,) classes."""
    weight = _root(len(y), weight) ** 2
    a, b = log_softmax(network, 1), log_softmax(linear, 1)
    rows = np.arange(len(y))

    def loss(pair: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = log_softmax(pair[0] * a + pair[1] * b, 1)
        wrong = np.exp(mixed)
        wrong[rows, y] -= 1
        slope = [float((weight[:, None] * wrong * part).sum()) for part in (a, b)]
        return -float((weight * mixed[rows, y]).sum()) / len(y), np.array(slope) / len(y)

    found = minimize(loss, np.array([0.5, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0, 10)] * 2).x
    share = _share(found, np.array([a.std(1).mean(), b.std(1).mean()]))
    return Blend(found[:1], found[1:], np.zeros(1), share)


def _root(count: int, weight: np.ndarray | None) -> np.ndarray:
    if count < 2:
        raise DataError(f"A blend needs two held-back rows or more. Got {count}. Use blend=False.")
    return np.ones(count) if weight is None else np.sqrt(np.asarray(weight, np.float64))


def _share(pair: np.ndarray, spread: np.ndarray) -> float:
    sizes = pair * spread
    return float(sizes[0] / sizes.sum()) if sizes.sum() > 0 else 0.5
