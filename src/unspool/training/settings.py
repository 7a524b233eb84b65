"""What a training is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

# loss(prediction, target, weight or None) -> a scalar. Each is a Tensor, a row a sequence, or a Ragged, a row a step.
Loss = Callable[[Any, Any, Any], Tensor]


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know of the estimator's parameters.

    epochs: passes over the training part, at most. batch_size: sequences a step. learning_rate, weight_decay: of
    AdamW. gradient_clip: largest joint norm; gradient_clip_value: largest size of a number; None: no limit.
    patience: epochs without a better validation loss that end the training; None: all epochs run. verbose: 0 or 1.
    schedule, warmup: of the learning rate, see `unspool.training.schedules`.
    average: decay of `MovingAverage`; 0: none. vectors_rate: what a `GivenEmbedding` has of the learning rate.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gradient_clip: float | None
    gradient_clip_value: float | None
    patience: int | None
    verbose: int
    schedule: str = "constant"
    warmup: int = 0
    average: float = 0.0
    vectors_rate: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):  # the history is of Python's numbers, as files are
                object.__setattr__(self, name, value.item())

    @classmethod
    def of(cls, model: Any, vectors_rate: float = 1.0) -> Settings:
        """Of an estimator whose parameters have these names; one without `early_stopping` always stops early."""
        return cls(
            epochs=model.epochs,
            batch_size=model.batch_size,
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            gradient_clip=model.gradient_clip,
            gradient_clip_value=model.gradient_clip_value,
            patience=model.patience if getattr(model, "early_stopping", True) else None,
            verbose=model.verbose,
            schedule=model.schedule,
            warmup=model.warmup,
            average=model.averaging,
            vectors_rate=vectors_rate,
        )


@dataclass(frozen=True)
class Outcome:
    """history: one dict an epoch; best_epoch: the one whose weights were kept; interrupted: by Ctrl-C."""

    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool
