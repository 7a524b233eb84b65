"""What every trial shares: the rows, their parts, and the estimator whose other settings are kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

import unspool
from unspool.encode import Raw, read_rows
from unspool.errors import DataError, bad_parameter, check_choice
from unspool.estimators import SequenceEstimator
from unspool.estimators.by_kind import training_of
from unspool.estimators.splitting import split_rows
from unspool.evaluation.metrics import METRICS
from unspool.parameters import check_parameters
from unspool.study.kinds.targets import TargetPart, TargetProblem
from unspool.study.problem import plain
from unspool.tasks import MultiLabel
from unspool.tasks.reading import read_labels
from unspool.tuning.space import Axis


@dataclass(frozen=True)
class Problem:
    """data: the estimator, and as its training part all rows but those for the test. training, validation: numbers of
    the rows that trials learn from and are ranked by. stops: whether trainings stop early, so that they have a
    validation curve. metric: what is to be best."""

    data: TargetProblem
    training: np.ndarray
    validation: np.ndarray
    stops: bool
    metric: str

    @property
    def estimator(self) -> SequenceEstimator:
        """Whose other settings are kept."""
        return self.data.estimator

    @property
    def random_state(self) -> int:
        """Of parts, trainings and draws."""
        return self.data.random_state

    @property
    def kind(self) -> str:
        """Of X: "text", "ids", "series" or "audio"."""
        return self.data.train.X.kind

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, otherwise -1."""
        return 1 if METRICS[self.metric][1] else -1

    @property
    def ratio(self) -> float:
        """Validation rows by training rows."""
        return len(self.validation) / len(self.training)

    def parts(self, draw: int | None) -> tuple[TargetPart, TargetPart]:
        """(training part, validation part): with None those that trials share, else drawn anew from all rows."""
        training, validation = self.training, self.validation
        if draw is not None:
            random = np.random.RandomState((self.random_state + draw) % 2**32)
            share = len(validation) / len(self.data.train)
            training, validation = drawn_parts(self.estimator, self.data.train, share, random)
        return self.data.train.take(training), self.data.train.take(validation)

    def facts(self, axes: list[Axis]) -> dict[str, Any]:
        """JSON values that are equal for two searches whose trials may be mixed, by a name for each."""
        settings = self.estimator.get_params(deep=False)
        return {
            "unspool": unspool.__version__,
            "estimator": type(self.estimator).__name__,
            **{n: plain(v) for n, v in settings.items() if n not in {"random_state", "verbose"}},
            "search": {axis.name: axis.to_json() for axis in axes},
            "metric": self.metric,
            "random_state": self.random_state,
            "rows": self.data.train.digest(),
            "validation rows": hashlib.sha256(self.validation.tobytes()).hexdigest(),
        }


def make_problem(
    X: Any,
    y: Any,
    estimator: SequenceEstimator,
    metric: str | None,
    validation: tuple[Any, Any] | None,
    random_state: int,
) -> Problem:
    """Check and split; see `unspool.tune`."""
    estimator = clone(estimator)
    settings = estimator.get_params(deep=False)
    check_parameters(type(estimator).__name__, settings)
    raw = read_rows("tune", X, settings)
    if estimator.kind_of(read_labels(y, len(raw))) is MultiLabel:  # whatever rows a part draws
        estimator.set_params(multilabel=True)
    rows = _part(raw, y, estimator)
    if estimator.kind_of(rows.y).has_classes:
        estimator.kind_of(rows.y).new(settings).read(rows.y, len(raw), learn=True)
    random = np.random.RandomState(random_state)
    if validation is None:
        training, held = drawn_parts(estimator, rows, estimator.validation_fraction, random)
    else:
        own = given_part("validation", validation, estimator, raw.kind)
        count, total = len(rows.y), len(rows.y) + len(own.y)
        rows = _joined(rows, own)
        training, held = np.arange(count), np.arange(count, total)
    data = TargetProblem(estimator, rows, None, None, None, int(random_state))
    task = data.task
    metric = task.default_metric if metric is None else check_choice("tune", "metric", metric, task.metrics)
    stops = training_of(estimator, raw.kind, len(training), task.has_classes, validation is not None)
    return Problem(data, training, held, stops.early_stopping, metric)


def given_part(name: str, data: Any, estimator: SequenceEstimator, kind: str) -> TargetPart:
    """A pair (X, y) of the parameter `name`."""
    if not isinstance(data, tuple) or len(data) != 2:
        bad_parameter("tune", name, "a pair (X, y)", type(data).__name__)
    return _part(read_rows("tune", data[0], estimator.get_params(deep=False), kind), data[1], estimator)


def _part(raw: Raw, y: Any, estimator: SequenceEstimator) -> TargetPart:
    """Labels as they are, anything else as numbers; `DataError` where they cannot be learnt."""
    labels = read_labels(y, len(raw))
    task = estimator.kind_of(labels)
    if not task.has_classes:
        numbers: Any = task.new(estimator.get_params(deep=False)).read(labels, len(raw), learn=True)
        return TargetPart(raw, numbers)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(f"tune takes labels (n,), not one-hot rows. Got shape {labels.shape}.")
    return TargetPart(raw, labels.reshape(len(labels)))


def _joined(one: TargetPart, other: TargetPart) -> TargetPart:
    X, Z = one.X, other.X
    data = X.data + Z.data if isinstance(X.data, list) else type(X.data).cat([X.data, Z.data])
    columns = {name: [*values, *Z.columns[name]] for name, values in X.columns.items()}
    return TargetPart(Raw(X.kind, data, columns), np.concatenate([one.y, other.y]))


def drawn_parts(
    estimator: SequenceEstimator, rows: TargetPart, share: float, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, validation rows); of classes drawn class by class, and none held back whole."""
    y = rows.y
    if len(y) < 2:
        raise DataError(f"At least two sequences are needed to hold some back. Got {len(y)}.")
    task = estimator.kind_of(y).new(estimator.get_params(deep=False))
    strata = task.strata(task.read(y, len(y), learn=True))
    training, held = split_rows(len(y), share, strata, random)
    if strata is not None and task.has_classes:
        unseen = ~np.isin(strata[held], strata[training])
        training, held = np.sort(np.concatenate([training, held[unseen]])), held[~unseen]
    if not len(held):
        raise DataError("No row can be held back: each class has a single row. Give more rows.")
    return training, held
