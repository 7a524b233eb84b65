"""Intervals and sets of classes that hold the true answer as often as asked, from errors on held-back rows.

Split conformal prediction (Lei et al. 2018, arXiv:1604.04173, algorithm 2): of n held-back rows the score that
k = ⌈(n + 1) level / 100⌉ of them do not exceed is exceeded by a new row with a probability of at most 1 - level / 100,
if it comes from where they come from and the model did not learn from them. (Here they chose the epoch and the weights
of a blend, which flatters it a little.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unspool.errors import DataError, ModelFileError, check_int
from unspool.saved.fields import Fields

LEVELS = range(1, 100)  # per cent


class Scores:
    """limits (99, K): for each level in per cent the score that is not exceeded; NaN where n is too small for it."""

    def __init__(self, limits: np.ndarray) -> None:
        self.limits = limits

    @classmethod
    def of(cls, scores: np.ndarray) -> Scores:
        """scores (n, K) of held-back rows, larger where the model is more wrong."""
        ordered, count = np.sort(scores, axis=0), len(scores)
        ranks = [-(-(count + 1) * level // 100) for level in LEVELS]
        none = np.full(ordered.shape[1], np.nan)
        return cls(np.stack([ordered[k - 1] if k <= count else none for k in ranks]))

    def limit(self, level: int) -> np.ndarray:
        """(K,): `DataError` where so many held-back rows were not there."""
        check_int("predict", "level", level, LEVELS[0])
        if level > LEVELS[-1]:
            raise DataError(f"level must be a whole number of per cent, 1 to 99. Got {level}.")
        found = self.limits[level - 1]
        if np.isnan(found).any():
            possible = int(np.isfinite(self.limits[:, 0]).sum())
            raise DataError(
                f"level={level} needs {-(-level // (100 - level))} held-back rows or more. This model was fitted with "
                f"fewer, enough for level {possible} at most. Raise validation_fraction."
            )
        return found

    def to_list(self) -> list[list[float | None]]:
        """JSON values; `read` takes them."""
        return [[None if v != v else v for v in row] for row in self.limits.tolist()]


def read(fields: Fields, width: int) -> Scores | None:
    """What `to_dict` of a task saved as "limits"; None where there is nothing. `ModelFileError` for another shape."""
    if "limits" not in fields.data:
        return None
    rows: Sequence[Any] = fields.items("limits", list, len(LEVELS))
    good = all(len(row) == width and all(v is None or type(v) in (int, float) for v in row) for row in rows)
    if not good:
        raise ModelFileError(f"its limits must be {width} numbers for each level.")
    return Scores(np.array([[np.nan if v is None else float(v) for v in row] for row in rows]))


def needed(scores: Scores | None) -> Scores:
    """`DataError` for a model that has none."""
    if scores is None:
        raise DataError(
            "predict with a level needs errors on rows that the fit held back, by early_stopping or validation_data; "
            "this model has none."
        )
    return scores
