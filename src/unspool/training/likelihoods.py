"""Negative log-likelihoods of counts and of positive numbers, whose means are exponentials of outputs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

LARGEST_LOG = 30.0  # of a mean, by the scale of its target
SHAPES = (-8.0, 8.0)  # least and largest logarithm of a dispersion
DEVIATIONS = (-7.0, 7.0)  # the same of a deviation


class Likelihood(ABC):
    """prediction (B, K) or (B, 2 K): log(m / scale) of K means m, then the second numbers; target (B, K), as given.

    outputs: numbers a target. scale (K,) float64. Computed in double precision, since differences of log-gamma need it.
    """

    name: ClassVar[str]
    outputs: ClassVar[int] = 1
    scale: Tensor

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean of `errors`, a scalar."""
        return self.errors(prediction, target).mean()

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,): the mean over the targets of each row, of the prediction's type."""
        first, *second = prediction.double().chunk(self.outputs, 1)
        log_scale = self.scale.to(first).log()
        log_mean = first.clamp(-LARGEST_LOG, LARGEST_LOG) + log_scale
        return self.each(target.double(), log_mean, *second).mean(1).to(prediction)

    @abstractmethod
    def each(self, y: Tensor, log_mean: Tensor, second: Any = None) -> Tensor:
        """(B, K) from (B, K) each."""

    def log_mean(self, outputs: np.ndarray) -> np.ndarray:
        """float64 (n, K): log(m / scale)."""
        return outputs[:, : outputs.shape[1] // self.outputs]


class Poisson(Likelihood):
    """(m - y log m + log y!) / scale, so that large counts have gradients as small ones have."""

    name = "poisson"

    def each(self, y: Tensor, log_mean: Tensor, second: Any = None) -> Tensor:
        """(B, K)."""
        return (log_mean.exp() - y * log_mean + torch.lgamma(y + 1)) / self.scale.to(y)


class NegativeBinomial(Likelihood):
    """Variance m + a m²; the second number is log a. With r = 1 / a, p = r / (r + m):
    -log Γ(y + r) + log Γ(r) + log y! - r log p - y log (1 - p) (Cameron, Trivedi 2013, NB2)."""

    name = "negative_binomial"
    outputs = 2

    def each(self, y: Tensor, log_mean: Tensor, second: Any = None) -> Tensor:
        """(B, K)."""
        log_r = -second.clamp(*SHAPES)
        r, both = log_r.exp(), torch.logaddexp(log_r, log_mean)
        chosen = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
        return -(chosen + r * (log_r - both) + y * (log_mean - both))


class Gamma(Likelihood):
    """log m + y / m: the gamma likelihood for the mean, whatever its shape (McCullagh, Nelder 1989, chapter 8)."""

    name = "gamma"

    def each(self, y: Tensor, log_mean: Tensor, second: Any = None) -> Tensor:
        """(B, K)."""
        return log_mean + y * (-log_mean).exp()


class LogNormal(Likelihood):
    """log y is normal, of deviation s; the second number is log s, the first log(median / scale). The mean is
    median · exp(s² / 2)."""

    name = "lognormal"
    outputs = 2

    def each(self, y: Tensor, log_mean: Tensor, second: Any = None) -> Tensor:
        """(B, K); here `log_mean` is the logarithm of the median."""
        log_s = second.clamp(*DEVIATIONS)
        apart = (y.log() - log_mean) * (-log_s).exp()
        return y.log() + log_s + 0.5 * math.log(2 * math.pi) + 0.5 * apart**2

    def log_mean(self, outputs: np.ndarray) -> np.ndarray:
        """float64 (n, K)."""
        median, log_s = np.split(outputs, 2, 1)
        return median + np.exp(2 * np.clip(log_s, *DEVIATIONS)) / 2


LIKELIHOODS: dict[str, type[Likelihood]] = {
    kind.name: kind for kind in (Poisson, NegativeBinomial, Gamma, LogNormal)
}
