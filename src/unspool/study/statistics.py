"""The statistics of a study: intervals, paired tests, their correction, and the dropping rule.

n runs of one arrangement have the scores s_1 ... s_n; two arrangements are compared by the differences d_j of
their scores in the same run (the same seed, and the same fold).

- Interval: mean ± t(1 - level/2, n - 1) * se, se^2 = (1/n + ratio) * var, var with n - 1 in its denominator.
- Test: t = mean(d) / se(d), two-sided, n - 1 degrees of freedom.
- ratio: 0 for repeated runs on one split, which gives the ordinary paired t test. For cross-validation, rows of
  a validation fold by rows of its training folds, 1 / (k - 1): the runs share most of their training rows, and
  without it se is too small (Nadeau & Bengio, "Inference for the generalization error", Machine Learning 52,
  2003; for repeated folds Bouckaert & Frank, PAKDD 2004).
- Holm: the i-th smallest of m p values times m - i + 1, made increasing (Holm, Scandinavian Journal of
  Statistics 6, 1979). m counts *all pairs*, since the best is picked by the same scores. Of 600 simulated
  studies of 12 equal arrangements and 5 runs, 13 % claimed a difference with m = 11, and 2 % with m = 66.
- Dropping: Tukey's range test; see `hopeless`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

LEVEL = 0.05
DROP_LEVEL = 0.01


@dataclass(frozen=True)
class Estimate:
    """A mean over `runs`; sd, the interval [low, high] and p (of mean 0) are None for a single run."""

    runs: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    def within(self, lowest: float, highest: float) -> Estimate:
        """The same with its interval cut to the values that are possible."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, lowest), high=min(self.high, highest))


def estimate(values: Sequence[float] | np.ndarray, ratio: float = 0.0, resolution: float = 0.0) -> Estimate:
    """Mean, sample sd, 95 % t interval and p of `values` (n,): scores, or differences of scores.

    ratio: see above. resolution: the step in which each score moves, 1/rows for a share of rows. The variance
    is taken as at least that of rounding two scores to it, resolution^2 / 6, so that two runs that happen to
    differ by the same one row are no proof.
    """
    x = np.asarray(values, float)
    n, mean = len(x), float(np.mean(x))
    if n < 2:
        return Estimate(n, mean)
    sd = float(np.std(x, ddof=1))
    error = math.sqrt((1 / n + ratio) * max(sd**2, resolution**2 / 6))
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * error
    p = float(_p(x[None], ratio, resolution)[0])
    return Estimate(n, mean, sd, mean - half, mean + half, p)


def _p(values: np.ndarray, ratio: float, resolution: float) -> np.ndarray:
    """p of mean 0 for each row of `values` (m, n), as `estimate` says; float64 (m,)."""
    n, means = values.shape[1], values.mean(1)
    errors = np.sqrt((1 / n + ratio) * np.maximum(values.std(1, ddof=1) ** 2, resolution**2 / 6))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(means) / errors, n - 1)
    return np.where(errors > 0, p, np.where(means == 0, 1.0, 0.0))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """The p values (m,), corrected for their number, in the same order; float64 (m,)."""
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(values), 0, -1) * values[order]))
    return adjusted


def compare_with_best(
    scores: np.ndarray, best: int, ratio: float = 0.0, resolution: float = 0.0
) -> list[Estimate | None]:
    """The difference `scores[i] - scores[best]` for each arrangement, p corrected over all pairs.

    scores (m, n): m arrangements in the same n runs. None for the best itself.
    """
    m, n = scores.shape
    corrected = np.zeros(m)
    if n > 1:
        raw = np.concatenate(
            [np.empty(0), *(_p(scores[i] - scores[:i], ratio, resolution) for i in range(1, m))]
        )
        others = np.delete(np.arange(m), best)
        high, low = np.maximum(others, best), np.minimum(others, best)
        corrected[others] = holm(raw)[high * (high - 1) // 2 + low]  # pairs (1, 0), (2, 0), (2, 1), ...
    results: list[Estimate | None] = []
    for i in range(len(scores)):
        if i == best:
            results.append(None)
            continue
        difference = estimate(scores[i] - scores[best], ratio, resolution)
        results.append(replace(difference, p=float(corrected[i]) if n > 1 else None))
    return results


def hopeless(scores: np.ndarray, ratio: float = 0.0, resolution: float = 0.0) -> list[int]:
    """The arrangements that are clearly below the best, by Tukey's range test at the 1 % level.

    scores (m, n), more is better. i is hopeless if best mean - mean_i > q * s * sqrt(1/n + ratio), q the 99 %
    quantile of the studentised range of m means with (m - 1)(n - 1) degrees of freedom, s^2 the variance that
    is left once the means of arrangements and of runs are taken out. Where all arrangements are equal, at most
    1 % of studies drop any at a given round. One variance for all makes the test sharp after two runs.
    """
    m, n = scores.shape
    if m < 2 or n < 2:
        return []
    means = scores.mean(1)
    left = scores - means[:, None] - scores.mean(0) + scores.mean()
    freedom = (m - 1) * (n - 1)
    variance = max(float((left**2).sum()) / freedom, resolution**2 / 12)
    q = float(stats.studentized_range.ppf(1 - DROP_LEVEL, m, freedom))
    limit = q * math.sqrt(variance * (1 / n + ratio))
    return [int(i) for i in np.flatnonzero(means.max() - means > limit)]
