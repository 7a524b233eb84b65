"""Split conformal intervals around forecasts, a width for each step of the horizon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unspool.errors import DataError


@dataclass(frozen=True)
class Scores:
    """|y - forecast| at held-back cut-offs, in units of each series' scale.

    values (n, H), NaN where y is missing. series (n,): whose. pooled: the scores of all series are one set; otherwise
    each series has its own.
    """

    values: np.ndarray
    series: np.ndarray
    pooled: bool = True

    def widths(self, coverage: float, series: np.ndarray, horizon: int) -> np.ndarray:
        """(len(series), horizon): half the width of intervals that hold y with probability `coverage` or more.

        The score of rank ⌈(n + 1) coverage⌉ of n (Lei et al. 2018, arXiv:1604.04173, section 2.2). `DataError` where n
        is too small for the rank.
        """
        if self.pooled:
            return np.broadcast_to(self._of(self.values, coverage, horizon, ""), (len(series), horizon))
        found = {
            s: self._of(self.values[self.series == s], coverage, horizon, " of a series")
            for s in set(series.tolist())
        }
        return np.stack([found[s] for s in series.tolist()]) if len(series) else np.zeros((0, horizon))

    @staticmethod
    def _of(values: np.ndarray, coverage: float, horizon: int, whose: str) -> np.ndarray:
        counts = (~np.isnan(values)).sum(0)[:horizon]
        if horizon > values.shape[1]:
            raise DataError(
                f"Intervals reach as far as the horizon that was trained, {values.shape[1]} steps. Got h={horizon}: "
                f"fit with horizon={horizon}, or ask for points alone."
            )
        least = smallest_count(coverage)
        if counts.min() < least:
            raise DataError(
                f"An interval of {100 * coverage:g} % needs {least} held-back forecasts{whose} or more for each step "
                f"of the horizon. There are {counts.min()}: hold back more with "
                "validation_size (--validation-size of fit), or take a lower level."
            )
        ordered = np.sort(values[:, :horizon], 0)  # NaN last
        return ordered[[rank(int(n), coverage) - 1 for n in counts], np.arange(horizon)]


def rank(count: int, coverage: float) -> int:
    """⌈(n + 1) coverage⌉; the product is rounded at 1e-9, so that 100 * 0.55 is 55."""
    return math.ceil(round((count + 1) * coverage, 9))


def smallest_count(coverage: float) -> int:
    """The fewest scores whose rank exists: n with ⌈(n + 1) coverage⌉ ≤ n."""
    n = max(1, math.ceil(round(coverage / (1 - coverage), 9)))
    return n if rank(n, coverage) <= n else n + 1


def bands(
    scores: Scores, wanted: Sequence[float], point: np.ndarray, series: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """(n, h, len(wanted)): the quantiles `wanted` around point (n, h): the ends of the symmetric interval that has as
    much probability beyond it on each side; scale (n,) of the series (n,)."""
    found = []
    for level in wanted:
        if level == 0.5:
            found.append(point)
            continue
        width = scores.widths(abs(2 * level - 1), series, point.shape[1]) * scale[:, None]
        found.append(point + width if level > 0.5 else point - width)
    return np.stack(found, -1)


def adaptive_levels(
    covered: np.ndarray, series: np.ndarray, cutoffs: np.ndarray, coverage: float, rate: float, scores: Scores
) -> np.ndarray:
    """Half widths (n, h) for cut-offs in time, each level moved by the misses before it.

    Adaptive conformal inference (Gibbs, Candès 2021, arXiv:2106.00170, eq. 2), for each series and step of the horizon:
    a ← a + rate (1 - coverage - miss), where a miss counts as soon as its y lies before the next cut-off. Levels
    outside what the scores can tell take the nearest that they can.

    covered (n, h): |y - forecast| in units of the scale, NaN where missing. series, cutoffs (n,).
    """
    n, h = covered.shape
    widths = np.empty((n, h))
    pools: dict[int, list[np.ndarray]] = {}
    for s in np.unique(series):
        own = scores.values if scores.pooled else scores.values[scores.series == s]
        pools[int(s)] = [np.sort(own[:, k][~np.isnan(own[:, k])]) for k in range(h)]
        rows = np.flatnonzero(series == s)
        rows = rows[np.argsort(cutoffs[rows], kind="stable")]
        for k in range(h):
            pool, alpha, done = pools[int(s)][k], 1 - coverage, 0
            if not len(pool):
                raise DataError(
                    "Intervals need held-back forecasts of every series: hold back more with validation_size."
                )
            for row in rows:
                while done < len(rows) and cutoffs[rows[done]] + k < cutoffs[row]:
                    score = covered[rows[done], k]
                    if not np.isnan(score):
                        alpha += rate * ((1 - coverage) - float(score > widths[rows[done], k]))
                    done += 1
                place = rank(len(pool), min(max(1 - alpha, 0.0), 1.0))
                widths[row, k] = 0.0 if alpha >= 1 else pool[min(max(place, 1), len(pool)) - 1]
    return widths
