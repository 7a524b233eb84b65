"""Counts: how many, 0 or more, by a Poisson or a negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unspool.errors import DataError
from unspool.evaluation.metrics import COUNTS
from unspool.tasks.log_link import LogLink

if TYPE_CHECKING:
    from unspool.tables import Table

LEAST = 0.25  # variance that a count is taken to have, so that a mean near 0 has an interval


class Count(LogLink):
    """Counts by "poisson", or by "negative_binomial", whose variance m + a m² may be larger than the mean m.

    Intervals: of errors divided by the root of the mean, never below 0.
    """

    name = "count"
    losses = ("poisson", "negative_binomial")
    power = 1
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = COUNTS

    def read(self, y: Any, count: int, learn: bool) -> np.ndarray:
        """float64 (n,) or (n, K), 0 or more; whole for the negative binomial."""
        found = super().read(y, count, learn)
        bad = found < 0
        if self.criterion.name == "negative_binomial":
            bad = bad | (found != np.floor(found))
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            what = (
                "whole numbers of 0 or more" if self.criterion.name != "poisson" else "targets of 0 or more"
            )
            raise DataError(
                f"loss={self.criterion.name!r} needs {what}. Got {found[row].tolist()!r} in row {row} "
                f"({int(bad.reshape(len(found), -1).any(1).sum())} rows in all)."
            )
        return found

    def fit(self, target: Any) -> None:
        """The means; `DataError` where all counts are 0."""
        if (target.reshape(len(target), -1).max(0) == 0).any():
            raise DataError(
                f"loss={self.criterion.name!r} needs targets of 0 or more that are not all 0. Every training row has 0."
            )
        super().fit(target)

    def _apart(self, means: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.abs(target - means) / np.sqrt(np.maximum(means, LEAST))

    def _ends(self, means: np.ndarray, limit: Any) -> tuple[np.ndarray, np.ndarray]:
        wide = limit * np.sqrt(np.maximum(means, LEAST))
        return np.maximum(means - wide, 0.0), means + wide

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        return cls._checked_columns(table, names, lambda x: x < 0, "counts, 0 or more")
