"""How far probabilities are from how often they are right."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 15


def calibration_error(shares: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean over rows of |mean share - share that is right| of
    their bin, of `bins` of one width.

    shares (n,): probabilities of the answers given. right (n,): whether they are true.
    """
    place = np.minimum((np.asarray(shares, np.float64) * bins).astype(int), bins - 1)
    apart = np.bincount(place, np.asarray(shares, np.float64) - right, minlength=bins)
    return float(np.abs(apart).sum() / len(shares))


def brier_score(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The mean over rows of the squared error summed over classes (Brier 1950); probabilities, true (n, C), true of 0
    and 1."""
    return float(((probabilities - true) ** 2).sum(1).mean())


def calibration(probabilities: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """{"ece": of the most probable class, "brier": ...} for class numbers (n,), or for labels of 0 and 1 (n, C), of
    which each counts as a row; a class number below 0 is one that the model has not."""
    if true.ndim == 2:
        shares, labels = probabilities.reshape(-1), true.reshape(-1)
        return {
            "ece": calibration_error(shares, labels),
            "brier": brier_score(shares[:, None], labels[:, None]),
        }
    hot = (true[:, None] == np.arange(probabilities.shape[1])).astype(np.float64)
    return {
        "ece": calibration_error(probabilities.max(1), probabilities.argmax(1) == true),
        "brier": brier_score(probabilities, hot) + float((true < 0).mean()),
    }


def calibration_of(model: Any, X: Any, y: np.ndarray) -> dict[str, Any]:
    """{"temperature": ..., "before": ..., "after": ...} of a fitted classifier on X and y, labels (n,) or 0 and 1 (n,
    C); "before": at temperature 1."""
    places = {label: k for k, label in enumerate(model.classes_.tolist())}
    true = y if y.ndim == 2 else np.array([places.get(label, -1) for label in y.tolist()])
    plain, own = model.uncalibrated().predict_proba(X), model.task_.temperature
    before = calibration(plain, true)
    after = before if own == 1.0 else calibration(model.predict_proba(X), true)
    return {"temperature": own, "before": before, "after": after}
