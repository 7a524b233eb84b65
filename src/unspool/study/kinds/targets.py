"""Studies of `SequenceRegressor` and `SequenceClassifier`: a target for each sequence."""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from unspool.encode import IdInput, Raw, SeriesInput, read_input, read_rows
from unspool.encode.reading import SHOWN
from unspool.errors import DataError, bad_parameter
from unspool.estimators import SequenceClassifier, SequenceEstimator, SequenceRegressor
from unspool.estimators.network import count_parameters, members_of
from unspool.estimators.splitting import split_rows
from unspool.evaluation.baselines import mean_baseline
from unspool.evaluation.linear import LinearText
from unspool.evaluation.metrics import Metrics
from unspool.evaluation.signals import signal_baselines
from unspool.heads.pooling import pooling_names
from unspool.parameters import TABLE
from unspool.study.arrangements import Grid
from unspool.study.kinds import checked, refuse
from unspool.study.layout import number
from unspool.study.problem import Asked, Fitted, Headings, Problem
from unspool.tables.columns import MANY_VALUES
from unspool.tasks import Task
from unspool.tasks.ordinal import ordered
from unspool.tasks.reading import read_labels


@dataclass(frozen=True)
class TargetPart:
    """Rows of one part: X (a `Raw`) and y (n,) or (n, K)."""

    X: Raw
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.X, self.y))

    def take(self, rows: np.ndarray) -> TargetPart:
        """The rows of an index array."""
        return TargetPart(self.X.take(rows), self.y[rows])

    def digest(self) -> str:
        """SHA-256 of the rows."""
        total = hashlib.sha256()
        if isinstance(self.X.data, list):
            total.update(json.dumps(self.X.data, default=_told).encode())
        else:
            total.update(self.X.data.offsets.numpy().tobytes())
            total.update(np.ascontiguousarray(self.X.data.values.numpy()).tobytes())
        if self.X.columns:
            columns = {name: list(v) for name, v in self.X.columns.items()}
            total.update(json.dumps(columns, default=str).encode())
        total.update(json.dumps(self.y.tolist(), default=str).encode())
        return total.hexdigest()


def _told(item: Any) -> Any:
    """Of a recording: its path, or its samples."""
    samples = getattr(item, "samples", None)
    return (
        str(item) if samples is None else hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()
    )


@dataclass(frozen=True)
class TargetProblem(Problem):
    """A number or a class for each sequence."""

    grid = Grid("pooling", ("last", "mean", "max", "attention"), pooling_names)

    @classmethod
    def make(cls, X: Any, y: Any, labels: Any, estimator: Any, asked: Asked) -> TargetProblem:
        """Check and split; see `unspool.study.compare`."""
        refuse("labels", labels, SequenceRegressor() if estimator is None else estimator)
        raw = read_input(X) if estimator is None else _read(X, estimator)
        targets = read_labels(y, len(raw))
        estimator = clone(_default(targets) if estimator is None else estimator)
        checked(estimator, TABLE)
        everything = TargetPart(raw, _target(estimator, targets))

        def given(data: Any) -> TargetPart:
            return _given(data, raw.kind, estimator)

        def split(part: TargetPart, share: float, random: Any) -> tuple[TargetPart, TargetPart]:
            return _split(part, share, estimator, random)

        parts = asked.divide(everything, given, split, estimator.validation_fraction)
        return cls(estimator, *parts, asked.cv, asked.random_state)

    @property
    def task(self) -> type[Task]:
        """What the target is."""
        return self.estimator.kind_of(self.train.y)

    @property
    def metrics(self) -> Headings:
        """Of the task."""
        return dict(self.task.metrics)

    @property
    def default_metric(self) -> str:
        """The task's: R2, accuracy, ..."""
        return self.task.default_metric

    @property
    def predicting(self) -> str:  # type: ignore[override]
        """ "classes" or "numbers"."""
        return "classes" if self.task.has_classes else "numbers"

    def given(self, part: TargetPart) -> Any:
        """The X of a part as the estimator takes it."""
        return part.X.given(self.estimator.text_column)

    def strata(self) -> np.ndarray | None:
        """The classes."""
        return self.train.y if self.task.has_classes else None

    def few(self, training: TargetPart) -> TargetPart:
        """Some rows, with every class."""
        rows = np.arange(min(len(training), 2 * self.estimator.batch_size))
        if self.task.has_classes:
            rows = np.union1d(rows, np.unique(training.y, return_index=True)[1])
        return training.take(rows)

    def short(self) -> TargetProblem:
        """With one epoch, and one network."""
        return replace(self, estimator=clone(self.estimator).set_params(epochs=1, ensemble=1))

    def fit(self, model: Any, training: TargetPart, validation: TargetPart | None) -> None:
        """Networks are compared, and the linear model beside them: no blend, unless it is asked for."""
        if model.blend is None:
            model.blend = False
        given = None if validation is None else (self.given(validation), validation.y)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Some labels differ in case")  # told once, by the study
            model.fit(self.given(training), training.y, validation_data=given)

    def measure(self, model: Any, part: TargetPart) -> Metrics:
        """Of several targets, means."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*of the training texts")
            each = self.task.measure(model, self.given(part), part.y).metrics
        return {name: _mean([metrics[name] for metrics in each]) for name in each[0]}

    def baselines(self, training: TargetPart, validation: TargetPart | None) -> list[Fitted]:
        """Mean or majority; for texts also TF-IDF with a linear model."""
        started = time.perf_counter()
        held = None if validation is None else (self.given(validation), validation.y)
        if training.X.kind in ("series", "audio"):
            return self._signal_baselines(training)
        texts = self.given(training) if training.X.kind == "text" else None
        settings = self.estimator.get_params(deep=False) if self.estimator.text_column else None
        fitted = self.task.baselines(
            texts,
            training.y,
            level=self.estimator.level,
            validation=held,
            seed=self.random_state,
            settings=settings,
        )
        seconds = time.perf_counter() - started
        # Both are fitted in one call; of its time a constant takes less than a millisecond.
        return [
            Fitted(
                b.name,
                partial(self.measure, b),
                seconds if isinstance(b.model, LinearText) else 0.0,
                b.settings,
            )
            for b in fitted
        ]

    def _signal_baselines(self, training: TargetPart) -> list[Fitted]:
        """The mean or the majority, and a linear model on a summary, which of numbers takes one target."""
        started, y = time.perf_counter(), training.y
        flat = y.reshape(len(y), -1)[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if flat.ndim == 2:
            return [Fitted("mean", partial(self.measure, mean_baseline(y)))]
        order = None
        if self.task.name == "ordinal":
            order = ordered(self.estimator.order, y)
        power = getattr(self.task, "power", 0)
        found = signal_baselines(
            training.X.kind, training.X.data, flat, self.task.has_classes, self.random_state, order, power
        )
        seconds = [0.0, time.perf_counter() - started]
        return [
            Fitted(b.name, partial(self.measure, b), s, b.settings)
            for b, s in zip(found, seconds, strict=True)
        ]

    def recurrent_parameters(self, model: Any) -> int:
        """Of the stacks of all members."""
        return sum(count_parameters(member.stack) for member in members_of(model.network_))

    def blank(self) -> Any:
        """Knows the width of its input and of y."""
        model, X, y = clone(self.estimator), self.train.X, self.train.y
        features = X.data.values.shape[1] if X.kind == "series" else 0
        model.input_ = SeriesInput([0.0] * features, [1.0] * features) if features else IdInput(1)
        model.task_ = model.task()
        model.task_.fit(model.task_.read(y, len(y), learn=True))
        return model

    def facts(self) -> dict[str, str]:
        """Input and target."""
        return {"input": SHOWN.get(self.train.X.kind, "recordings"), "target": self._target_told()}

    def _target_told(self) -> str:
        y = self.train.y
        if self.task.has_classes:
            classes, counts = np.unique(y, return_counts=True)
            shown = [f"{label} ({count:,})" for label, count in zip(classes.tolist(), counts.tolist())]
            return f"{len(classes)} classes: {', '.join(shown[:12])}{', ...' if len(shown) > 12 else ''}"
        each = [
            f"mean {number(float(c.mean()))}, sd {number(float(c.std(ddof=1)))}"
            for c in y.reshape(len(y), -1).T
        ]
        return "; ".join(each)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if len(known) == len(values) else None


# --- reading


def _default(y: np.ndarray) -> SequenceEstimator:
    """A regressor for several columns, or numbers with any fraction or many values; else a classifier."""
    if y.ndim == 2 and y.shape[1] > 1:
        return SequenceRegressor()
    if y.dtype.kind in "UO" and y.ndim == 1 and all(isinstance(v, str) for v in y):
        _check_words(y)
    if y.dtype.kind not in "iuf":
        return SequenceClassifier()
    whole = bool((y == np.floor(y)).all())
    return SequenceClassifier() if whole and len(np.unique(y)) <= MANY_VALUES else SequenceRegressor()


def _check_words(y: np.ndarray) -> None:
    """`DataError` for texts (n,) that are, or look like, numbers: which of the two is meant must be said."""
    import polars as pl

    from unspool.tables.numbers import Style, looks_like, to_numbers

    cells = pl.Series(y.tolist())
    values, missing, _ = to_numbers(cells, Style())
    found = looks_like(cells.filter(~missing & values.is_null()))
    numbers = len(y) - values.null_count() > len(y) / 2
    if (numbers or found) and cells.n_unique() > MANY_VALUES:
        what = "numbers" if found is None else found[0]
        raise DataError(
            f"y holds texts that seem to be {what}, such as {y[0]!r}. Convert them to floats; if they are labels, pass "
            "estimator=SequenceClassifier()."
        )


def _target(estimator: SequenceEstimator, y: np.ndarray) -> np.ndarray:
    """y as numbers, or labels as they are; `DataError` where it cannot be learnt."""
    task = estimator.kind_of(y)
    numbers: Any = task.new(estimator.get_params(deep=False)).read(y, len(y), learn=True)
    return y.reshape(len(y)) if task.has_classes else numbers


def _read(X: Any, estimator: SequenceEstimator, kind: str | None = None) -> Raw:
    return read_rows("compare", X, estimator.get_params(deep=False), kind)


def _given(data: Any, kind: str, estimator: SequenceEstimator) -> TargetPart:
    if not isinstance(data, tuple) or len(data) != 2:
        bad_parameter("compare", "validation and test", "a pair (X, y)", type(data).__name__)
    raw = _read(data[0], estimator, kind)
    labels = read_labels(data[1], len(raw))
    if not estimator.task.has_classes:
        labels = _target(estimator, labels)
    return TargetPart(raw, labels)


def _split(
    part: TargetPart, share: float, estimator: SequenceEstimator, random: np.random.RandomState
) -> tuple[TargetPart, TargetPart]:
    """(the rest, a drawn share); for classes stratified, and no class is held out whole."""
    if len(part.y) < 2:
        raise DataError(f"At least two sequences are needed to hold some back. Got {len(part.y)}.")
    classes = part.y if estimator.task.has_classes else None
    rest, held_out = split_rows(len(part.y), share, classes, random)
    if classes is not None:
        unseen = ~np.isin(classes[held_out], classes[rest])
        rest, held_out = np.sort(np.concatenate([rest, held_out[unseen]])), held_out[~unseen]
    return part.take(rest), part.take(held_out)
