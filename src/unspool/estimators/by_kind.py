"""What the parameters of training are where they are left at None: by the kind of X, and of series by its size.

Chosen on folds of the training parts of GunPoint, BasicMotions and JapaneseVowels: of small sets each
row is worth more in training than for early stopping, and few steps an epoch need many epochs and a large rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SIGNALS = ("series", "audio")
ENOUGH = 1000  # sequences of which some can be held back
DROPOUT = {"text": 0.5, "ids": 0.5, "series": 0.3, "audio": 0.3}
INPUT_DROPOUT = {"text": 0.3, "ids": 0.3, "series": 0.0, "audio": 0.0}


@dataclass(frozen=True)
class Training:
    """The parameters of `SequenceEstimator` of these names, none of them None."""

    epochs: int
    learning_rate: float
    schedule: str
    early_stopping: bool
    patience: int


def training_of(model: Any, kind: str, rows: int, has_classes: bool, validated: bool = False) -> Training:
    """The parameters of `model`, those that are None by kind, number of sequences and kind of target. validated: `fit`
    was given rows to validate on."""
    signals = kind in SIGNALS
    stops = model.early_stopping
    if stops is None:
        stops = validated or not (signals and has_classes and rows < ENOUGH)
    schedule, rate = model.schedule, model.learning_rate
    if schedule is None:
        schedule = "one_cycle" if signals and not stops else "constant"
    if rate is None:
        rate = 5e-3 if signals and schedule == "one_cycle" else 2e-3
    return Training(
        epochs=model.epochs if model.epochs is not None else 100 if signals else 20,
        learning_rate=rate,
        schedule=schedule,
        early_stopping=stops,
        patience=model.patience if model.patience is not None else 20 if signals else 4,
    )
