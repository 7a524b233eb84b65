"""Probabilities that say how often they are right: logits divided by one number, the temperature.

Of least cross-entropy on held-back rows (Guo et al. 2017, arXiv:1706.04599, section 4.2). Those rows also chose the
epoch and the weights of a blend; they are never rows of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from unspool.errors import ModelFileError
from unspool.saved.fields import Fields

RANGE = (0.05, 20.0)
FEWEST = 20  # held-back rows from which a temperature can be told


def asked(settings: Mapping[str, Any]) -> bool:
    """What `calibrate` of an estimator's parameters says."""
    value = settings["calibrate"]
    return True if value is None else bool(value)


def temperature(logits: np.ndarray, target: np.ndarray, class_weight: np.ndarray | None = None) -> float:
    """The best one for logits (n, C) and class numbers (n,), or labels of 0 and 1 (n, C); 1 for fewer than 20 rows.

    class_weight (C,): of the rows of each class, as in the training; without, what they are for would be undone.
    """
    weight = None if class_weight is None else class_weight[target]
    if len(target) < FEWEST:
        return 1.0

    def loss(log: float) -> float:
        scaled = logits / np.exp(log)
        if target.ndim == 2:
            return -float(scipy.special.log_expit(np.where(target == 1, scaled, -scaled)).mean())
        return -float(
            np.average(scipy.special.log_softmax(scaled, 1)[np.arange(len(target)), target], weights=weight)
        )

    bounds = tuple(np.log(RANGE))
    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x))


def to_dict(value: float) -> dict[str, float]:
    """What is saved of it."""
    return {} if value == 1.0 else {"temperature": value}


def read(fields: Fields) -> float:
    """What `to_dict` saved; `ModelFileError` outside the range."""
    if "temperature" not in fields.data:
        return 1.0
    value = fields.get("temperature", float)
    if not RANGE[0] <= value <= RANGE[1]:
        raise ModelFileError(f"its temperature must be in {list(RANGE)}. Got {value}.")
    return value
