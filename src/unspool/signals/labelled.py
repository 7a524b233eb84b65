"""What every reader gives: names, sequences, and their targets where there are any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Labelled:
    """Sequences as the estimators take them. names: one each, such as a file's; X: (T, F) arrays or paths of
    recordings; y: (n,) labels or numbers, None where there are none. features: the names of the F columns, where they
    have any. `X, y = read_ts(...)` unpacks those two.
    """

    names: list[Any]
    X: list[Any]
    y: np.ndarray | None
    features: list[str] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.X, self.y))

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: np.ndarray) -> Labelled:
        """The sequences at `rows`."""
        y = None if self.y is None else self.y[rows]
        return Labelled([self.names[i] for i in rows], [self.X[i] for i in rows], y, self.features)


def labels_or_numbers(values: list[str]) -> np.ndarray:
    """(n,) int64 where every text is a whole number, otherwise str."""
    try:
        whole = np.array([int(v) for v in values], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(values, dtype=str)
    return whole if [str(v) for v in whole.tolist()] == values else np.array(values, dtype=str)
