"""Numbers above 0, such as prices and durations, by a gamma or a log-normal likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unspool.errors import DataError
from unspool.evaluation.metrics import POSITIVE
from unspool.tasks.log_link import LogLink

if TYPE_CHECKING:
    from unspool.tables import Table


class Positive(LogLink):
    """Numbers above 0 by "gamma", whose deviation is a share of the mean, or by "lognormal", a normal logarithm.

    Both predict the mean. Intervals: of ratios to the mean, always above 0.
    """

    name = "positive"
    losses = ("gamma", "lognormal")
    power = 2
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = POSITIVE

    def read(self, y: Any, count: int, learn: bool) -> np.ndarray:
        """float64 (n,) or (n, K), all above 0."""
        found = super().read(y, count, learn)
        bad = found <= 0
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            raise DataError(
                f"loss={self.criterion.name!r} needs targets above 0. Got {found[row].tolist()!r} in row {row} "
                f"({int(bad.reshape(len(found), -1).any(1).sum())} rows in all). Where 0 can be, use 'poisson'."
            )
        return found

    def _apart(self, means: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.abs(np.log(target) - np.log(means))

    def _ends(self, means: np.ndarray, limit: Any) -> tuple[np.ndarray, np.ndarray]:
        return means * np.exp(-limit), means * np.exp(limit)

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        return cls._checked_columns(table, names, lambda x: x <= 0, "numbers above 0")
