"""What a target is: reading it, the loss, decoding, metrics, baselines; a registry, one file each."""

from __future__ import annotations

from unspool.tasks.base import Measured, Target, Task
from unspool.tasks.classification import Classification
from unspool.tasks.counts import Count
from unspool.tasks.multilabel import MultiLabel
from unspool.tasks.ordinal import Ordinal
from unspool.tasks.positive import Positive
from unspool.tasks.regression import Regression

__all__ = [
    "Classification",
    "Count",
    "Measured",
    "MultiLabel",
    "Ordinal",
    "Positive",
    "Regression",
    "Target",
    "Task",
]

#: Name -> task.
registry: dict[str, type[Task]] = {
    task.name: task for task in (Regression, Classification, MultiLabel, Ordinal, Count, Positive)
}
