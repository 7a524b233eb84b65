"""Any number of labels for each sequence: a yes or no for each of C labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy
import torch
from torch import Tensor

from unspool.arrays import frame, named_matrix
from unspool.errors import DataError, ModelFileError, bad_parameter
from unspool.evaluation.baselines import Baseline, multilabel_baselines, share_baseline
from unspool.evaluation.metrics import MULTILABEL, multilabel_metrics
from unspool.evaluation.thresholds import best_thresholds
from unspool.saved.fields import Fields
from unspool.tasks import calibration
from unspool.tasks.base import Measured, Task
from unspool.tasks.classification import only_classes
from unspool.tasks.reading import read_labels
from unspool.training.losses import LabelLoss

if TYPE_CHECKING:
    from unspool.tables import Table


class MultiLabel(Task):
    """C labels, each by a logistic output of its own and its cross-entropy.

    classes (C,): the labels' names, of a DataFrame's columns, else 0, 1, ... thresholds (C,): a label is given where
    its probability reaches it; found on held-back rows (`unspool.evaluation.thresholds`), else 0.5. temperature: as of
    `Classification`.
    """

    name = "multilabel"
    outputs_are = "labels"
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = MULTILABEL
    default_metric = "micro_f1"

    classes: np.ndarray
    thresholds: np.ndarray

    def __init__(self) -> None:
        self.criterion = LabelLoss()
        self.calibrate, self.temperature = False, 1.0

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> MultiLabel:
        """settings: the estimator's parameters; `InvalidParameterError` for those of other tasks."""
        only_classes(settings)
        for name in ("class_weight", "label_smoothing", "order"):
            if settings[name] not in (None, 0):
                bad_parameter(
                    "SequenceClassifier", name, "None for several labels a sequence", settings[name]
                )
        task = cls()
        task.calibrate = calibration.asked(settings)
        return task

    def read(self, y: Any, count: int, learn: bool) -> np.ndarray:
        """float64 (n, C) of 0 and 1."""
        y, names = frame(y), None
        if hasattr(y, "columns"):
            names, y = named_matrix(y)
        found = read_labels(y, count)
        if found.dtype.kind not in "biuf" or found.ndim != 2 or found.shape[1] < 2:
            raise DataError(
                f"y must hold 0 or 1 for each of two labels or more, shape (n, labels). Got shape {found.shape}."
            )
        wrong = np.argwhere(~np.isin(found, (0, 1)))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"y must hold 0 or 1. Got {found[row, column].item()!r} in row {row}, column {column}."
            )
        if learn:
            self.classes = np.arange(found.shape[1]) if names is None else np.array(names)
            self.thresholds = np.full(found.shape[1], 0.5)
        if found.shape[1] != len(self.classes) or (
            names is not None and self.classes.dtype.kind == "U" and names != self.classes.tolist()
        ):
            raise DataError(
                f"y must have the {len(self.classes)} labels of training, {self.classes.tolist()}, in this order. Got "
                f"{names or found.shape[1]}."
            )
        return found.astype(np.float64)

    def fit(self, target: Any) -> None:
        """Nothing is learnt of it; `DataError` where no label tells rows apart."""
        if not (target != target[0]).any():
            raise DataError("Every training row has the same labels. There is nothing to learn.")

    def renew(self, fresh: MultiLabel, target: Any) -> None:
        """Nothing but the thresholds was learnt, and they stay."""

    def encode(self, target: Any) -> Tensor:
        """float32 (n, C)."""
        return torch.from_numpy(target.astype(np.float32))

    def tune(self, outputs: np.ndarray, target: Any) -> None:
        """The temperature and the thresholds; outputs, target (n, C) of held-back rows."""
        self.temperature = calibration.temperature(outputs, target) if self.calibrate else 1.0
        self.thresholds = best_thresholds(self.probabilities(outputs), target)

    def score(self, outputs: np.ndarray, target: Any) -> float:
        """Micro F1 at the best thresholds."""
        self.tune(outputs, target)
        return super().score(outputs, target)

    @property
    def output_size(self) -> int:
        """C, the number of labels."""
        return len(self.classes)

    def decode(self, outputs: Any) -> np.ndarray:
        """int64 (n, C), 1 for a label that is given."""
        return (self.probabilities(outputs) >= self.thresholds).astype(np.int64)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """float64 (n, C), of each label."""
        return scipy.special.expit(outputs / self.temperature)

    @property
    def columns_wanted(self) -> int:
        """One a label."""
        return len(self.classes)

    def columns(self, outputs: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        """0 or 1 for each label, then probability_<label> for each."""
        shares = {f"probability_{c}": p for c, p in zip(self.classes, self.probabilities(outputs).T)}
        return {**dict(zip(names, self.decode(outputs).T, strict=True)), **shares}

    def default_names(self) -> list[str]:
        """prediction_<label> for each."""
        return [f"prediction_{label}" for label in self.classes]

    def to_dict(self) -> dict[str, Any]:
        own = {"labels": self.classes.tolist(), "thresholds": self.thresholds.tolist()}
        return {**own, **calibration.to_dict(self.temperature)}

    @classmethod
    def from_fields(cls, fields: Fields) -> MultiLabel:
        task = cls()
        kind = str if any(isinstance(v, str) for v in fields.get("labels", list)) else int
        labels: list[Any] = fields.items("labels", kind)
        task.classes = np.array(labels)
        task.thresholds = np.array(fields.items("thresholds", float, len(labels)))
        task.temperature = calibration.read(fields)
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ModelFileError("the labels must be two or more, all different.")
        return task

    # --- tables and measures

    @classmethod
    def settings_for(cls, settings: Mapping[str, Any], table: Table, names: Sequence[str]) -> dict[str, Any]:
        return {"multilabel": True}

    @classmethod
    def named(cls, y: np.ndarray, names: Sequence[str]) -> Any:
        """y (n, C) with the names of its labels, a polars DataFrame."""
        import polars as pl

        return pl.DataFrame(y, schema=list(names))

    @classmethod
    def measured(cls, names: Sequence[str]) -> list[str]:
        """One table of metrics over all labels."""
        return [f"{len(names)} labels"]

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        from unspool.tables import number_columns

        found = number_columns(table, names)
        for name, column in zip(names, np.atleast_2d(found.T), strict=True):
            if not np.isin(column, (0, 1)).all():
                odd = column[~np.isin(column, (0, 1))][0]
                raise DataError(
                    f"Column {name!r} of {table.name} must hold 0 or 1 in every row. Got {odd:g}."
                )
        return found.reshape(len(table), -1)

    @classmethod
    def measure(cls, model: Any, X: Any, y: np.ndarray) -> Measured:
        probabilities, predicted = np.asarray(model.predict_proba(X)), np.asarray(model.predict(X))
        metrics = multilabel_metrics(y, predicted, probabilities)
        return Measured(predicted, [metrics], probabilities, np.asarray(model.classes_))

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
        if X is None:
            return [share_baseline(y)]
        return multilabel_baselines(X, y, level=level, validation=validation, seed=seed, settings=settings)

    @classmethod
    def plot(cls, path: str | Path, y: np.ndarray, found: Measured, targets: Sequence[str]) -> None:
        from unspool.evaluation.plots import plot_labels

        plot_labels(path, y, found.predicted, targets)
