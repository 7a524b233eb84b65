"""How far Adam moves a number over steps in which it has no gradient, for any of them without a loop."""

from __future__ import annotations

import numpy as np

BLOCK = 4096  # steps by which the table grows


class Tails:
    """k steps of AdamW without a gradient.

    Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2. A number p has the moments m and v
    after step s. With c1(i) = 1 - beta1^i, c2(i) = 1 - beta2^i, q = 1 - lr weight_decay and
    r = beta1 / sqrt(beta2), the steps s + 1 ... s + k make of it

        q^k p - lr m sum_{j=1..k} w_j / (sqrt(v) + eps y_j)
        w_j = q^(k-j) r^j sqrt(c2(s+j)) / c1(s+j),  y_j = sqrt(c2(s+j)) / beta2^(j/2).

    The sums S_n of w_j y_j^n, n = 0, 1, 2, are differences of infinite ones, which a table holds:

        S_n = q^k (T_n(s) - x_n^k T_n(s+k)),  x_n = r / (q beta2^(n/2))
        T_n(s) = sum_{j>=1} x_n^j c2(s+j)^((n+1)/2) / c1(s+j).

    y_j enters by its mean and its variance over the terms: with D = sqrt(v) + eps mean, the sum is
    S_0 / (D - eps^2 variance / D), exact where k = 1, and where sqrt(v) is large beside eps. Elsewhere it is
    off by at most, in parts of the sum without eps (any k and v; betas 0.9 and 0.999; no weight decay): 6e-3
    for s = 1, 1.2e-3 for 10, 2e-5 for 100, 9e-8 for 1000. With the mean alone: 3e-2, 7e-3, 3e-4 and 8e-6.
    """

    def __init__(self, betas: tuple[float, float], kept: float, start: int = 0) -> None:
        """kept: q. start: the first s that is asked for.

        ValueError where the infinite sums have no end, or one too far off.
        """
        longest = longest_ratio(betas, kept)
        if longest > 0.999:
            raise ValueError(
                "beta1 / (beta2^1.5 (1 - lr weight_decay)) must be at most 0.999 for rows that move on "
                f"without a gradient. Got {longest:.4g}: betas {betas}, lr weight_decay {1 - kept:.4g}. "
                "Use dense gradients and torch.optim.AdamW, or a smaller lr, weight_decay or beta1."
            )
        self.betas, self.start = betas, start
        root = betas[1] ** 0.5
        self.powers = np.arange(1, 4)[:, None]
        self.ratios = betas[0] / kept / root**self.powers
        self.gap_logs = _log([*self.ratios[:, 0], kept])
        self.age_logs = _log([betas[0] / root, 1 / root])
        self.moment_logs = _log(list(betas))
        self.table = np.empty((3, 0))

    def coefficients(self, seen: np.ndarray, last: np.ndarray, step: int, eps: float) -> list[np.ndarray]:
        """factor, mean, square, kept, each (n,): for rows with moments of `seen` (n,), values of `last` (n,).

        With D = sqrt(v) + mean, a row at `step` is kept (p - lr factor m / (D - square / D)).
        Where `last` is `step`, factor is 0 and kept 1.
        """
        while self.table.shape[1] <= step - self.start:
            self.table = np.concatenate([self.table, self._block(self.start + self.table.shape[1])], axis=1)
        gap = np.exp(self.gap_logs * (step - last))
        age = np.exp(self.age_logs * (last - seen))
        sums = self.table[:, last - self.start] - gap[:3] * self.table[:, step - self.start, None] + 1e-300
        y, square = sums[1:] / sums[0]
        # Beyond 1e15 nothing moves; its square is still a number in float32.
        mean = np.minimum(y * age[1] * eps, 1e15)
        return [sums[0] * age[0], mean, np.maximum(square / (y * y) - 1, 0) * mean * mean, gap[3]]

    def decays(self, steps: np.ndarray) -> np.ndarray:
        """What is left of the moments (m, v) after `steps` (n,): (2, n)."""
        return np.exp(self.moment_logs * steps)

    def _block(self, first: int) -> np.ndarray:
        """T(first), T(first + 1), ...: sums of 1, 2, 4, ... terms, until the rest is nothing in float64."""
        beyond, ratio = 1, self.ratios
        while ratio.max() > 1e-18:
            beyond, ratio = 2 * beyond, ratio**2
        i = np.arange(first + 1, first + BLOCK + beyond)
        c1, c2 = (1 - beta**i for beta in self.betas)
        sums = self.ratios * c2 ** (self.powers / 2) / c1
        count, ratio = 1, self.ratios
        while count < beyond:
            sums = sums[:, :-count] + ratio * sums[:, count:]
            count, ratio = 2 * count, ratio**2
        return sums


def longest_ratio(betas: tuple[float, float], kept: float) -> float:
    """x_2, the largest ratio of two terms of a sum; infinite where nothing is kept."""
    return betas[0] / betas[1] ** 1.5 / kept if kept > 0 else float("inf")


def _log(bases: list[float]) -> np.ndarray:
    """(len(bases), 1); finite for 0, whose powers from the first on are then 0 too."""
    return np.log(np.maximum(bases, 1e-300))[:, None]
