"""What `level` and `quantiles` ask for: one list of quantiles, and the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unspool.errors import bad_parameter, check_float


@dataclass(frozen=True)
class Wanted:
    """levels: of the quantiles, in (0, 1). names: of their columns. coverages: (per cent, low column, high column)."""

    levels: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    coverages: tuple[tuple[float, str, str], ...] = ()

    @classmethod
    def of(cls, level: Any, quantiles: Any) -> Wanted:
        """level: per cent in (0, 100), one or several. quantiles: in (0, 1). At most one of the two."""
        if level is not None and quantiles is not None:
            bad_parameter("Forecaster.predict", "quantiles", "None where level is given", quantiles)
        if quantiles is not None:
            found = [
                check_float("Forecaster.predict", "quantiles", q, 0, 1, "neither") for q in _listed(quantiles)
            ]
            return cls(tuple(found), tuple(f"q-{q:g}" for q in found))
        levels: list[float] = []
        names: list[str] = []
        coverages = []
        for value in [] if level is None else _listed(level):
            check_float("Forecaster.predict", "level", value, 0, 100, "neither")
            low, high = f"lo-{value:g}", f"hi-{value:g}"
            tail = round((100 - value) / 200, 12)
            levels += [tail, round(1 - tail, 12)]
            names += [low, high]
            coverages.append((float(value), low, high))
        return cls(tuple(levels), tuple(names), tuple(coverages))

    def named(self, found: np.ndarray) -> dict[str, np.ndarray]:
        """(..., len(levels)) -> column by name."""
        return {name: found[..., i] for i, name in enumerate(self.names)}


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [v.item() if isinstance(v, np.generic) else v for v in value]
    return [value.item() if isinstance(value, np.generic) else value]
