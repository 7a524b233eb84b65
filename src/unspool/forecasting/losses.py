"""Losses of forecasts, and what is read off the outputs: a point, quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unspool.training.losses import quantile

LOSSES = ("squared", "absolute", "huber", "quantile", "normal", "student_t", "negative_binomial")
_OUTPUTS = {"normal": 2, "student_t": 3, "negative_binomial": 2}
SMALLEST = 1e-4  # of a scale, in units of the series' deviation


class ForecastLoss:
    """The mean loss of the observed steps of a horizon.

    name: "squared", "absolute", "huber" (squared up to 1, linear beyond); "quantile": the pinball loss, averaged over
    `levels`, an output each (Koenker, Bassett 1978); minus the log-likelihood of "normal" (mean, deviation),
    "student_t" (location, scale, degrees of freedom above 2) or "negative_binomial" (mean m and a, variance m + a m²:
    Salinas et al. 2017, arXiv:1704.04110, eq. 4), an output a parameter.

    Predictions are outputs (..., horizon, P); targets (B, 2 * horizon + 1) those of `Windows`. All are in units of the
    scaled series, but for the counts of a negative binomial: those are `unit` times the target.
    """

    def __init__(self, name: str, levels: Sequence[float] = ()) -> None:
        self.name, self.levels = name, tuple(levels)

    @property
    def outputs(self) -> int:
        """P."""
        return len(self.levels) if self.name == "quantile" else _OUTPUTS.get(self.name, 1)

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """A scalar."""
        return self.of_share(prediction, target, weight, target)

    def of_share(self, prediction: Tensor, target: Tensor, weight: Tensor | None, whole: Tensor) -> Tensor:
        """What these rows add to the loss of a batch whose targets are `whole`. weight (B, h): of each step."""
        h = prediction.shape[-2]
        y, observed, unit = target[:, :h], target[:, h : 2 * h], target[:, 2 * h :]
        errors = self.errors(prediction, y, unit) * observed
        if weight is not None:
            errors = errors * weight
        return errors.sum() / whole[:, h : 2 * h].sum().clamp(min=1).to(errors.device)

    def errors(self, prediction: Tensor, y: Tensor, unit: Tensor) -> Tensor:
        """(B, h): the loss of each step; unit (B, 1)."""
        if self.name == "squared":
            return F.mse_loss(prediction[..., 0], y, reduction="none")
        if self.name == "absolute":
            return F.l1_loss(prediction[..., 0], y, reduction="none")
        if self.name == "huber":
            return F.huber_loss(prediction[..., 0], y, reduction="none")
        if self.name == "quantile":
            parts = [quantile(prediction[..., i], y, level) for i, level in enumerate(self.levels)]
            return torch.stack(parts).mean(0)
        if self.name == "normal":
            mean, scale = prediction[..., 0], F.softplus(prediction[..., 1]) + SMALLEST
            return ((y - mean) / scale) ** 2 / 2 + scale.log() + math.log(2 * math.pi) / 2
        if self.name == "student_t":
            return -self._student(prediction).log_prob(y)
        return self._negative_binomial(prediction, y * unit, unit)

    def _student(self, prediction: Tensor) -> torch.distributions.StudentT:
        scale, freedom = F.softplus(prediction[..., 1]) + SMALLEST, 2 + F.softplus(prediction[..., 2])
        return torch.distributions.StudentT(freedom, prediction[..., 0], scale, validate_args=False)

    @staticmethod
    def _counts(prediction: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, a), the mean in counts."""
        return (F.softplus(prediction[..., 0]) + SMALLEST) * unit, F.softplus(prediction[..., 1]) + SMALLEST

    def _negative_binomial(self, prediction: Tensor, y: Tensor, unit: Tensor) -> Tensor:
        mean, a = self._counts(prediction, unit)
        r = 1 / a
        chosen = torch.lgamma(y + r) - torch.lgamma(y + 1) - torch.lgamma(r)
        return -(chosen - r * torch.log1p(a * mean) + y * (a * mean / (1 + a * mean)).log())

    def point(self, prediction: Tensor) -> Tensor:
        """(..., P) -> (...): mean of a distribution, the middle one of quantiles."""
        if self.name == "quantile":
            nearest = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - 0.5))
            return prediction[..., nearest]
        if self.name == "negative_binomial":
            return F.softplus(prediction[..., 0]) + SMALLEST
        return prediction[..., 0]

    def quantiles(self, prediction: Tensor, wanted: Sequence[float], unit: Tensor) -> np.ndarray:
        """(B, h, P), unit (B, 1) -> (B, h, len(wanted)) float64, never falling from one level to a higher one."""
        from scipy import stats

        p = prediction.double()
        levels = np.asarray(wanted, float)
        if self.name == "quantile":
            sorted_outputs = np.sort(p.numpy(), -1)
            rank = {level: i for i, level in enumerate(sorted(self.levels))}
            return sorted_outputs[..., [rank[level] for level in wanted]]
        if self.name == "normal":
            scale = F.softplus(p[..., 1]) + SMALLEST
            return p[..., :1].numpy() + scale.numpy()[..., None] * stats.norm.ppf(levels)
        if self.name == "student_t":
            found = self._student(p)
            steps = stats.t.ppf(levels, found.df.numpy()[..., None])
            return found.loc.numpy()[..., None] + found.scale.numpy()[..., None] * steps
        mean, a = (v.numpy()[..., None] for v in self._counts(p, unit.double()))
        return stats.nbinom.ppf(levels, 1 / a, 1 / (1 + a * mean)) / unit.double().numpy()[..., None]
