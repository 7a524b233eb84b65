"""What a task is: how targets are read, what the network predicts for them, the loss, the answers, the measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.evaluation.baselines import Baseline
from unspool.evaluation.metrics import Metrics
from unspool.ragged import Ragged
from unspool.saved.fields import Fields

if TYPE_CHECKING:
    from unspool.tables import Table

# Targets as they are read: an array (n, ...) with a row a sequence, or a Ragged (N, ...) with one a step.
Target = np.ndarray | Ragged


@dataclass(frozen=True)
class Measured:
    """What a model answered on some rows, and how good that is.

    predicted: (B, K) numbers for K targets, or (B,) labels. probabilities (B, C) of classes (C,): None where there
    are no classes. metrics: one dict a target.
    """

    predicted: np.ndarray
    metrics: list[Metrics]
    probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None


class Task(ABC):
    """Base of the tasks: fitted on the training part, saved with the model. A new one is a file with a subclass
    and a line in `unspool.tasks.registry`.

    name: in the registry and for `--task`. per_step: one target a step, not one a sequence; the network then predicts
    at every step, and targets, outputs and (where given so) weights are Ragged. has_classes: a target is one of some
    labels, so that parts of the rows are drawn class by class. outputs_are: what the network's outputs stand for,
    "numbers", or logits of "classes" or of "labels"; a linear part is fitted accordingly. criterion: the loss, as of
    `unspool.training.losses`. metrics: key -> (heading, whether more is better), the first for ranking by
    `default_metric`.
    """

    name: ClassVar[str]
    per_step: ClassVar[bool] = False
    has_classes: ClassVar[bool] = False
    outputs_are: ClassVar[str] = "numbers"
    criterion: Any
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = {}
    default_metric: ClassVar[str] = ""

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> Task:
        """A task, not yet fitted. settings: the estimator's parameters."""
        return cls()

    # --- learning

    @abstractmethod
    def read(self, y: Any, count: int, learn: bool) -> Target:
        """Check the targets of `count` sequences and bring them to numbers; learn: it is the y of `fit`.

        Raises `DataError` for targets that cannot be used.
        """

    @abstractmethod
    def fit(self, target: Target) -> None:
        """Learn from the targets of the training part what `encode` needs, such as a scale."""

    def renew(self, fresh: Any, target: Target) -> None:
        """Learn on from `target` by the settings of `fresh`, a new task; what was learnt of the targets stays.

        Raises `NotImplementedError` where a task cannot, `DataError` where the targets do not go on."""
        raise NotImplementedError(f"The task {self.name!r} cannot be learnt on.")

    @abstractmethod
    def encode(self, target: Target) -> Tensor | Ragged:
        """Targets for the loss: (B,) or (B, K), or a Ragged with one a step (N, ...)."""

    def strata(self, target: Target) -> np.ndarray | None:
        """Class numbers (n,) by which a validation part is drawn; None: at random."""
        return target if self.has_classes and isinstance(target, np.ndarray) else None

    @property
    def thresholds_start(self) -> Tensor | None:
        """(K - 1,): where the thresholds of K ordered classes begin; None where there are none."""
        return None

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Numbers that the network predicts for a target."""

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(n,): the loss of each of n targets. prediction (n, output_size), target as `encode` gives it."""
        return self.criterion.errors(prediction, target)

    def loss(self, prediction: Any, target: Any, weight: Any = None) -> Tensor:
        """The mean of the errors, each times its weight, over the sequences of a batch, or over all their steps.

        prediction, target, weight (None: 1): Tensors with a row a sequence, or Ragged with a row a step.
        """
        prediction, target = _values(prediction), _values(target)
        if weight is None:
            return self.mean_error(prediction, target)
        return (self.errors(prediction, target) * _values(weight)).mean()

    def mean_error(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean of `errors`, in one operation where that can be."""
        criterion = getattr(self, "criterion", None)
        return self.errors(prediction, target).mean() if criterion is None else criterion(prediction, target)

    def tune(self, outputs: np.ndarray, target: Target) -> None:
        """Learn from held-back rows what the answers need beside the outputs, such as thresholds; by default nothing.

        outputs: (B, output size), as `decode` takes them. target: as `read` gives it.
        """
        return

    def score(self, outputs: np.ndarray, target: Any) -> float:
        """How good outputs for held-back rows are, the larger the better: `default_metric`, its mean over the targets,
        minus that where less is better. outputs, target: as of `tune`. `DataError` where the rows cannot tell."""
        measured = self.measure(_Answered(self, outputs), None, self.named_classes(target))
        values = [metrics[self.default_metric] for metrics in measured.metrics]
        if any(value is None for value in values):
            heading = self.metrics[self.default_metric][0]
            raise DataError(
                f"The validation part does not tell the {heading}: all of its {len(target)} targets are the same. Use "
                "monitor='loss', or a larger validation part."
            )
        sign = 1.0 if self.metrics[self.default_metric][1] else -1.0
        return sign * float(np.mean(values))  # type: ignore[arg-type]

    def named_classes(self, target: Any) -> Any:
        """What `measure` takes for a target as `read` gives it."""
        return target

    # --- answers

    @abstractmethod
    def decode(self, outputs: Any) -> Any:
        """What `predict` gives for the network's outputs, float64 (B, output_size) or a Ragged (N, output_size)."""

    def covering(self, outputs: Any, level: int) -> np.ndarray:
        """What `predict` gives with a level: answers that hold the true one in `level` per cent of new rows.

        outputs: (B, output size). Numbers (B, 3) or (B, K, 3), or sets bool (B, C). Raises `DataError` where a task has
        none, or the fit held back too few rows."""
        raise DataError(
            f"predict takes no level for the task {self.name!r}: there are no intervals of its answers."
        )

    def covering_columns(self, outputs: Any, names: Sequence[str], level: int) -> dict[str, np.ndarray]:
        """The same as columns (B,) of a table, beside those of `columns`; raises as `covering`."""
        raise DataError(f"A level goes with numbers and with classes, not with the task {self.name!r}.")

    @property
    def columns_wanted(self) -> int:
        """How many names `columns` takes: one a target."""
        return 1

    def default_names(self) -> list[str]:
        """The names that `columns` takes where none are given: "prediction", or "prediction_1", "prediction_2", ..."""
        count = self.columns_wanted
        return ["prediction"] if count == 1 else [f"prediction_{k + 1}" for k in range(count)]

    @abstractmethod
    def columns(self, outputs: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The answers as columns (B,) of a table, a prediction for each of `names` first."""

    # --- saving

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What was learnt, as JSON values; `from_fields` reads it."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Fields) -> Task:
        """The task whose `to_dict` was saved; `ModelFileError` where the fields do not hold."""

    # --- tables and measures; of the class, since baselines and studies have no fitted task

    @classmethod
    def settings_for(cls, settings: Mapping[str, Any], table: Table, names: Sequence[str]) -> dict[str, Any]:
        """The estimator's parameters of a job of this task, where the command left them open; `DataError` for those
        that do not go with it."""
        return {}

    @classmethod
    def named(cls, y: np.ndarray, names: Sequence[str]) -> Any:
        """y as `fit` takes it, with the names of its columns where the task keeps them."""
        return y

    @classmethod
    def measured(cls, names: Sequence[str]) -> list[str]:
        """What the dicts of `Measured.metrics` are of, for targets of these names: one each."""
        return list(names)

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        """The targets (B,) or (B, K) in columns of a table; `DataError` for cells that are none."""
        raise NotImplementedError(f"The task {cls.name!r} reads no tables.")

    @classmethod
    def measure(cls, model: Any, X: Any, y: np.ndarray) -> Measured:
        """The answers of an estimator or a baseline for X, measured against y (B,) or (B, K)."""
        raise NotImplementedError(f"The task {cls.name!r} has no measures.")

    @classmethod
    def baselines(
        cls,
        X: Any,
        y: np.ndarray,
        *,
        level: str,
        validation: tuple[Any, np.ndarray] | None,
        seed: int,
        settings: Mapping[str, Any] | None = None,
    ) -> list[Baseline]:
        """What a model must beat, fitted on the training part. X: texts, or None for input of any other kind;
        with `settings`, an estimator's parameters, a DataFrame or dict as they name its columns."""
        return []

    @classmethod
    def plot(cls, path: str | Path, y: np.ndarray, found: Measured, targets: Sequence[str]) -> None:
        """Predicted against true, to a PNG file. targets: K names."""
        raise NotImplementedError(f"The task {cls.name!r} has no plot.")


@dataclass(frozen=True)
class _Answered:
    """The answers of a task to outputs that are there, as `Task.measure` takes a model."""

    task: Any
    outputs: np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        return self.task.decode(self.outputs)

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.task.probabilities(self.outputs)

    @property
    def classes_(self) -> np.ndarray:
        return self.task.classes


def take(target: Any, rows: np.ndarray) -> Any:
    """The targets (or weights) of some sequences."""
    return target[torch.from_numpy(rows)] if isinstance(target, Ragged) else target[rows]


def _values(x: Any) -> Any:
    return x.values if isinstance(x, Ragged) else x
