"""One or several numbers for each sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, ModelFileError, bad_parameter
from unspool.evaluation.baselines import Baseline, mean_baseline, regression_baselines
from unspool.evaluation.metrics import REGRESSION, regression_metrics
from unspool.saved.fields import Fields
from unspool.tasks import conformal
from unspool.tasks.base import Measured, Task
from unspool.tasks.reading import read_labels
from unspool.training.losses import NUMBERS, NumberLoss

if TYPE_CHECKING:
    from unspool.tables import Table


LARGE = 1e100  # of targets, whose squares are added up


class Regression(Task):
    """Numbers by least squares on the standardised target, or another of `NumberLoss`.

    ndim: axes of y, 1 or 2; mean, scale (K,): of the K targets over the training part, in their own units.
    """

    name = "regression"
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = REGRESSION
    default_metric = "r2"

    ndim: int
    mean: np.ndarray
    scale: np.ndarray

    def __init__(self, loss: NumberLoss | None = None) -> None:
        self.criterion = loss or NumberLoss()
        self.scores: conformal.Scores | None = None

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> Any:
        """settings: the estimator's parameters; `InvalidParameterError` for those of the other task."""
        cls._only_numbers(settings)
        return cls(NumberLoss(settings["loss"], settings["quantile"]))

    @staticmethod
    def _only_numbers(settings: Mapping[str, Any]) -> None:
        for name in ("class_weight", "label_smoothing", "multilabel", "order", "calibrate"):
            if settings[name] is not None and settings[name] != 0:
                bad_parameter("SequenceRegressor", name, "None: numbers have no classes", settings[name])
        if settings["quantile"] != 0.5 and settings["loss"] != "quantile":
            expected = f"0.5 with loss={settings['loss']!r}, which has no level"
            bad_parameter(
                "SequenceRegressor", "quantile", expected, settings["quantile"], "Use loss='quantile'."
            )

    def read(self, y: Any, count: int, learn: bool) -> np.ndarray:
        """float64 (n,) or (n, K)."""
        y = read_labels(y, count)
        if y.dtype.kind in "mM":
            raise DataError(
                f"y must be numbers. Got {y.dtype}: make numbers of them, such as days since the earliest."
            )
        if y.dtype.kind == "c":
            raise DataError(f"y must be finite real numbers. Got {np.asarray(y[0]).tolist()!r} in row 0.")
        if y.ndim == 2 and y.shape[1] == 0:
            raise DataError(f"y must have one column of numbers or more. Got shape {y.shape}.")
        try:
            numbers = y.astype(np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"y must be numbers. Got {y.dtype}: {error}.") from error
        bad = ~np.isfinite(numbers)
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            raise DataError(
                f"y must be finite real numbers. Got {np.asarray(y[row]).tolist()!r} in row {row}."
            )
        largest = np.abs(numbers).max(0, initial=0.0)
        if (largest > LARGE).any() or ((largest > 0) & (largest < 1 / LARGE)).any():
            raise DataError(
                f"y must be numbers whose squares float64 holds: largest in [{1 / LARGE:g}, {LARGE:g}]. Got "
                f"{largest.tolist()!r}. Give them in another unit."
            )
        return numbers

    def fit(self, target: Any) -> None:
        self.ndim = target.ndim
        columns = target.reshape(len(target), -1)
        self.mean = columns.mean(0)
        scale = columns.std(0)
        # A constant target: its deviation is rounding of its own size.
        self.scale = np.where(scale <= 1e-12 * np.abs(columns).max(0), 1.0, scale)

    def renew(self, fresh: Regression, target: Any) -> None:
        """The loss of `fresh`; the scale stays, and so does what the outputs stand for."""
        names = self.criterion.name, fresh.criterion.name
        if names[1] not in NUMBERS:
            hint = f"Under {names[1]!r} a network predicts logarithms: fit a new model."
            bad_parameter("SequenceRegressor", "loss", f"{names[0]!r}, as it was fitted with", names[1], hint)
        self.criterion = fresh.criterion

    def encode(self, target: Any) -> Tensor:
        """float32 (n, K), of mean 0 and variance 1 over the training part."""
        self._check_columns(target)
        scaled = (target.reshape(len(target), -1) - self.mean) / self.scale
        return torch.from_numpy(scaled.astype(np.float32))

    def _check_columns(self, target: np.ndarray) -> None:
        if target.ndim != self.ndim or target.reshape(len(target), -1).shape[1] != len(self.mean):
            raise DataError(f"y must have {len(self.mean)} columns as in training. Got shape {target.shape}.")

    @property
    def output_size(self) -> int:
        """K, the number of targets."""
        return len(self.mean)

    def decode(self, outputs: Any) -> np.ndarray:
        """float64 (n,), or (n, K) after a fit on y (n, K)."""
        numbers = outputs * self.scale + self.mean
        return numbers[:, 0] if self.ndim == 1 else numbers

    def tune(self, outputs: np.ndarray, target: Any) -> None:
        """The absolute errors of held-back rows."""
        errors = np.abs(self.decode(outputs) - target)
        self.scores = conformal.Scores.of(errors.reshape(len(errors), -1))

    def covering(self, outputs: Any, level: int) -> np.ndarray:
        """(n, 3), or (n, K, 3): the prediction, and the ends of an interval around it."""
        limit = conformal.needed(self.scores).limit(level)
        found = self.decode(outputs)
        wide = limit[0] if self.ndim == 1 else limit
        return np.stack([found, found - wide, found + wide], -1)

    def covering_columns(self, outputs: Any, names: Sequence[str], level: int) -> dict[str, np.ndarray]:
        """NAME_low and NAME_high for each."""
        ends = self.covering(outputs, level).reshape(len(outputs), -1, 3)
        found: dict[str, np.ndarray] = {}
        for name, (_, low, high) in zip(names, ends.transpose(1, 2, 0), strict=True):
            found |= {f"{name}_low": low, f"{name}_high": high}
        return found

    @property
    def columns_wanted(self) -> int:
        return len(self.mean)

    def columns(self, outputs: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        numbers = self.decode(outputs).reshape(len(outputs), -1)
        return dict(zip(names, numbers.T, strict=True))

    def to_dict(self) -> dict[str, Any]:
        own: dict[str, Any] = {"ndim": self.ndim, "mean": self.mean.tolist(), "scale": self.scale.tolist()}
        if self.scores is not None:
            own["limits"] = self.scores.to_list()
        return own if self.criterion.name == "squared" else {**own, "loss": self.criterion.name}

    @classmethod
    def from_fields(cls, fields: Fields) -> Any:
        loss = "squared" if "loss" not in fields.data else fields.choice("loss", [*NUMBERS, "poisson"])
        if loss == "poisson":  # as files had counts before these were a task
            from unspool.tasks.counts import Count

            task = Count.from_fields(fields)
            task.scores = None  # their limits were of plain errors
            return task
        task = cls(NumberLoss(loss))
        task._read(fields)
        return task

    def _read(self, fields: Fields) -> None:
        """What `to_dict` gave, but the loss."""
        self.ndim = fields.get("ndim", int)
        self.mean = np.array(fields.items("mean", float))
        self.scale = np.array(fields.items("scale", float, len(self.mean)))
        size = len(self.mean)
        if size == 0 or self.ndim not in (1, 2) or (self.ndim == 1 and size > 1):
            raise ModelFileError(f"a target of {self.ndim} axes cannot have {size} columns.")
        self.scores = conformal.read(fields, size)

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        from unspool.tables import number_columns

        return number_columns(table, names)

    @classmethod
    def measure(cls, model: Any, X: Any, y: np.ndarray) -> Measured:
        predicted = np.asarray(model.predict(X), dtype=float).reshape(len(y), -1)
        true = y.reshape(len(y), -1)
        return Measured(
            predicted, [regression_metrics(t, p) for t, p in zip(true.T, predicted.T, strict=True)]
        )

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
            return [mean_baseline(y)]
        return regression_baselines(X, y, level=level, validation=validation, seed=seed, settings=settings)

    @classmethod
    def plot(cls, path: str | Path, y: np.ndarray, found: Measured, targets: Sequence[str]) -> None:
        from unspool.evaluation.plots import plot_regression

        plot_regression(path, y.reshape(len(y), -1), found.predicted, targets, found.metrics)
