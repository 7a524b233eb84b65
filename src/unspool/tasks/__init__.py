"""What a target is: reading it, the loss, decoding, metrics, baselines; a registry, one file each."""

from __future__ import annotations

from unspool.tasks.base import Measured, Target, Task
from unspool.tasks.classification import Classification
from unspool.tasks.multilabel import MultiLabel
from unspool.tasks.regression import Regression

__all__ = ["Classification", "Measured", "MultiLabel", "Regression", "Target", "Task"]

#: Name -> task.
registry: dict[str, type[Task]] = {task.name: task for task in (Regression, Classification, MultiLabel)}
