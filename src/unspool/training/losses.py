"""Losses of a prediction: a mean over the rows of a batch, weighted where the rows have weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

# (prediction (B, K), target (B, K)) -> (B, K), each target in units of its deviation
NUMBERS: dict[str, Callable[..., Tensor]] = {
    "squared": lambda prediction, target: F.mse_loss(prediction, target, reduction="none"),
    "absolute": lambda prediction, target: F.l1_loss(prediction, target, reduction="none"),
    "huber": lambda prediction, target: F.huber_loss(prediction, target, reduction="none"),
    "quantile": lambda prediction, target, level: quantile(prediction, target, level),
    "poisson": lambda prediction, target: F.poisson_nll_loss(prediction, target, reduction="none"),
}


class NumberLoss:
    """Mean over rows and targets of one of `NUMBERS`.

    "squared": least squares, towards the mean. "absolute": towards the median. "huber": squared up to an error of 1,
    linear beyond (Huber 1964). "quantile": towards the quantile `level` in (0, 1), |error| times level above the
    prediction and 1 - level below it (Koenker, Bassett 1978). "poisson": exp(prediction) - target * prediction, for
    counts, whose mean is exp(prediction).
    """

    def __init__(self, name: str = "squared", level: float = 0.5) -> None:
        self.name, self.level = name, level

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """prediction, target (B, K); weight (B,) of mean 1, or None -> a scalar."""
        if self.name == "squared" and weight is None:
            return F.mse_loss(prediction, target)
        options = (self.level,) if self.name == "quantile" else ()
        return _mean(NUMBERS[self.name](prediction, target, *options).mean(1), weight)


class ClassLoss:
    """Cross-entropy; smoothing: that share of each target is spread over all classes (Szegedy et al. 2016,
    arXiv:1512.00567, section 7). class_weight (K,): a weight of the rows of each class."""

    def __init__(self, smoothing: float = 0.0, class_weight: Tensor | None = None) -> None:
        self.smoothing, self.class_weight = smoothing, class_weight

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """prediction (B, K) logits, target (B,) class numbers, weight (B,) or None -> a scalar."""
        if self.class_weight is not None:
            each = self.class_weight.to(prediction)[target]
            weight = each if weight is None else each * weight
        if weight is None:
            return F.cross_entropy(prediction, target, label_smoothing=self.smoothing)
        return _mean(
            F.cross_entropy(prediction, target, reduction="none", label_smoothing=self.smoothing), weight
        )


def quantile(prediction: Tensor, target: Tensor, level: float) -> Tensor:
    """max(level * e, (level - 1) * e), e = target - prediction; the shape of both."""
    error = target - prediction
    return (level * error).maximum((level - 1) * error)


def _mean(each: Tensor, weight: Tensor | None) -> Tensor:
    return each.mean() if weight is None else (each * weight).mean()
