"""Numbers whose mean is the exponential of what the network says: the base of counts and of positive numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, ModelFileError, bad_parameter
from unspool.evaluation.baselines import Baseline, log_link_baselines, mean_baseline
from unspool.evaluation.metrics import Metrics, deviance_metrics
from unspool.saved.fields import Fields
from unspool.tasks import conformal
from unspool.tasks.base import Measured
from unspool.tasks.regression import Regression
from unspool.training.likelihoods import LARGEST_LOG, LIKELIHOODS, Likelihood


class LogLink(Regression):
    """Means of K targets, each its mean over the training part times an exponential.

    losses: names of `unspool.training.likelihoods` that the targets may have, the default first. power: of the
    variance as a function of the mean, 1 or 2, by which deviance and baseline go. scale (K,): the training means.
    """

    losses: ClassVar[tuple[str, ...]]
    power: ClassVar[int]
    default_metric = "deviance"
    criterion: Likelihood

    def __init__(self, loss: str) -> None:
        self.criterion = LIKELIHOODS[loss]()
        self.scores: conformal.Scores | None = None

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> LogLink:
        """settings: the estimator's parameters; `InvalidParameterError` for those of other tasks."""
        cls._only_numbers(settings)
        if settings["loss"] not in cls.losses:
            bad_parameter("SequenceRegressor", "loss", f"one of {list(cls.losses)}", settings["loss"])
        return cls(settings["loss"])

    def fit(self, target: Any) -> None:
        """The means."""
        self.ndim = target.ndim
        self.scale = target.reshape(len(target), -1).mean(0)
        self.mean = np.zeros_like(self.scale)
        self._learn_scale()

    def _learn_scale(self) -> None:
        self.criterion.scale = torch.from_numpy(self.scale)

    def renew(self, fresh: Any, target: Any) -> None:
        """Nothing: the means stay, and another loss has other outputs."""
        names = self.criterion.name, fresh.criterion.name
        if names[0] != names[1]:
            hint = "The outputs of the network stand for other things: fit a new model."
            bad_parameter("SequenceRegressor", "loss", f"{names[0]!r}, as it was fitted with", names[1], hint)

    def encode(self, target: Any) -> Tensor:
        """float32 (n, K), as they are."""
        self._check_columns(target)
        return torch.from_numpy(target.reshape(len(target), -1).astype(np.float32))

    @property
    def output_size(self) -> int:
        """K, or 2 K where the loss has a second number a target."""
        return len(self.scale) * self.criterion.outputs

    def decode(self, outputs: Any) -> np.ndarray:
        """The means, float64 (n,), or (n, K) after a fit on y (n, K)."""
        means = self.scale * np.exp(np.clip(self.criterion.log_mean(outputs), -LARGEST_LOG, LARGEST_LOG))
        return means[:, 0] if self.ndim == 1 else means

    def tune(self, outputs: np.ndarray, target: Any) -> None:
        """How far held-back rows are from their means, as `_apart` measures it."""
        apart = self._apart(self.decode(outputs), target)
        self.scores = conformal.Scores.of(apart.reshape(len(apart), -1))

    def covering(self, outputs: Any, level: int) -> np.ndarray:
        """(n, 3), or (n, K, 3): the mean, and the ends of an interval that is the wider the larger it is."""
        limit = conformal.needed(self.scores).limit(level)
        means = self.decode(outputs)
        return np.stack([means, *self._ends(means, limit[0] if self.ndim == 1 else limit)], -1)

    def _apart(self, means: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The scores of conformal intervals, 0 or more."""
        raise NotImplementedError

    def _ends(self, means: np.ndarray, limit: Any) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest number whose score is `limit`."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "loss": self.criterion.name}

    @classmethod
    def from_fields(cls, fields: Fields) -> Any:
        task = cls(fields.choice("loss", cls.losses))
        task._read(fields)
        if (task.scale <= 0).any():
            raise ModelFileError("the means of its targets must be above 0.")
        task._learn_scale()
        return task

    @classmethod
    def settings_for(cls, settings: Mapping[str, Any], table: Any, names: Sequence[str]) -> dict[str, Any]:
        if settings["loss"] in cls.losses:
            return {}
        if settings["loss"] != "squared":
            raise DataError(
                f"--task {cls.name} goes with --loss {' or '.join(cls.losses)}. Got {settings['loss']!r}."
            )
        return {"loss": cls.losses[0]}

    @classmethod
    def measure(cls, model: Any, X: Any, y: np.ndarray) -> Measured:
        predicted = np.asarray(model.predict(X), dtype=float).reshape(len(y), -1)
        found: list[Metrics] = [
            deviance_metrics(true, means, cls.power)
            for true, means in zip(y.reshape(len(y), -1).T, predicted.T, strict=True)
        ]
        return Measured(predicted, found)

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
        return log_link_baselines(
            X, y, cls.power, level=level, validation=validation, seed=seed, settings=settings
        )

    @classmethod
    def _checked_columns(cls, table: Any, names: Sequence[str], bad: Any, must: str) -> np.ndarray:
        """The numbers of columns of a table; `DataError` with the first rows where `bad(numbers)`."""
        found = super().read_columns(table, names)
        columns = found.reshape(len(table), -1)
        for name, column in zip(names, columns.T, strict=True):
            rows = np.flatnonzero(bad(column))
            if len(rows):
                shown = "; ".join(f"row {table.rows[i]}: {column[i]:g}" for i in rows[:3])
                raise DataError(
                    f"Column {name!r} of {table.name} must hold {must}. {len(rows)} of {len(table)} rows do not: "
                    f"{shown}."
                )
        return found
