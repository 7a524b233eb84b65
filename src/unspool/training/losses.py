"""Losses of predictions: one number a row, and their mean."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# (prediction (B, K), target (B, K)) -> (B, K), each target in units of its deviation
NUMBERS: dict[str, Callable[..., Tensor]] = {
    "squared": lambda prediction, target: F.mse_loss(prediction, target, reduction="none"),
    "absolute": lambda prediction, target: F.l1_loss(prediction, target, reduction="none"),
    "huber": lambda prediction, target: F.huber_loss(prediction, target, reduction="none"),
    "quantile": lambda prediction, target, level: quantile(prediction, target, level),
}


class NumberLoss:
    """Mean over rows and targets of one of `NUMBERS`.

    "squared": least squares, towards the mean. "absolute": towards the median. "huber": squared up to an error of 1,
    linear beyond (Huber 1964). "quantile": towards the quantile `level` in (0, 1), |error| times level above the
    prediction and 1 - level below it (Koenker, Bassett 1978). Those of counts and of positive numbers:
    `unspool.training.likelihoods`.
    """

    def __init__(self, name: str = "squared", level: float = 0.5) -> None:
        self.name, self.level = name, level

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean of `errors`, a scalar."""
        if self.name == "squared":
            return F.mse_loss(prediction, target)
        return self.errors(prediction, target).mean()

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction, target (B, K) -> (B,), the mean over the targets of each row."""
        options = (self.level,) if self.name == "quantile" else ()
        return NUMBERS[self.name](prediction, target, *options).mean(1)


class ClassLoss:
    """Cross-entropy.

    smoothing: while gradients are taken, so not in validation, that share of each target is spread over all classes
    (Szegedy et al. 2016, arXiv:1512.00567, section 7). class_weight (K,): a weight of the rows of each class.
    """

    def __init__(self, smoothing: float = 0.0, class_weight: Tensor | None = None) -> None:
        self.smoothing, self.class_weight = smoothing, class_weight

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean of `errors`, a scalar."""
        if self.class_weight is None:
            return F.cross_entropy(prediction, target, label_smoothing=self._share())
        return self.errors(prediction, target).mean()

    def _share(self) -> float:
        return self.smoothing if torch.is_grad_enabled() else 0.0

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction (B, K) logits, target (B,) class numbers -> (B,), each times the weight of its class."""
        each = F.cross_entropy(prediction, target, reduction="none", label_smoothing=self._share())
        return each if self.class_weight is None else each * self.class_weight.to(prediction)[target]


class LabelLoss:
    """Mean over rows and labels of the cross-entropy of each label's yes or no; prediction (B, C) logits, target
    (B, C) of 0 and 1."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean of `errors`, a scalar."""
        return F.binary_cross_entropy_with_logits(prediction, target)

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,): the mean over the labels of each row."""
        return F.binary_cross_entropy_with_logits(prediction, target, reduction="none").mean(1)


def quantile(prediction: Tensor, target: Tensor, level: float) -> Tensor:
    """max(level * e, (level - 1) * e), e = target - prediction; the shape of both."""
    error = target - prediction
    return (level * error).maximum((level - 1) * error)
