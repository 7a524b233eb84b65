"""What every run of a study shares: the data, its parts, and the estimator whose settings are kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from unspool.encode import Raw, read_input, read_rows
from unspool.errors import DataError, bad_parameter, check_choice, check_float, check_int
from unspool.estimators import SequenceClassifier, SequenceEstimator, SequenceRegressor
from unspool.estimators.splitting import split_rows
from unspool.parameters import check_parameters
from unspool.tables.columns import MANY_VALUES
from unspool.tasks import Task
from unspool.tasks.reading import read_labels

VARIED = ("cell", "pooling", "num_layers", "bidirectional", "random_state", "verbose")


class Part(NamedTuple):
    """Rows of one part: X (a `Raw`) and y (n,) or (n, K)."""

    X: Raw
    y: np.ndarray

    def take(self, rows: np.ndarray) -> Part:
        """The rows of an index array."""
        return Part(self.X.take(rows), self.y[rows])


@dataclass(frozen=True)
class Problem:
    """train: the rows to learn from. validation: None for cross-validation in `cv` folds. test: may be None."""

    estimator: SequenceEstimator
    train: Part
    validation: Part | None
    test: Part | None
    cv: int | None
    random_state: int

    @property
    def task(self) -> type[Task]:
        """What the target is."""
        return self.estimator.kind_of(self.train.y)

    @property
    def metrics(self) -> dict[str, tuple[str, bool]]:
        """The metrics of the task: name -> (heading, whether more is better)."""
        return dict(self.task.metrics)

    @property
    def folds(self) -> int:
        """Runs of an arrangement in one repeat."""
        return self.cv or 1

    @property
    def ratio(self) -> float:
        """Rows of a validation fold by rows of its training folds; 0 where all runs share one split."""
        return 1 / (self.cv - 1) if self.cv else 0.0

    def given(self, part: Part) -> Any:
        """The X of a part as the estimator takes it."""
        return part.X.given(self.estimator.text_column)

    def seed(self, repeat: int) -> int:
        """Of weights and batches in repeat 0, 1, ...; the same for every arrangement."""
        return self.random_state + repeat

    def parts(self, repeat: int, fold: int) -> tuple[Part, Part]:
        """(training part, validation part) of a run; each repeat of a cross-validation draws its own folds."""
        if self.validation is not None:
            return self.train, self.validation
        assert self.cv is not None
        y, options = self.train.y, {"shuffle": True, "random_state": self.seed(repeat)}
        stratify = self.task.has_classes and int(np.unique(y, return_counts=True)[1].min()) >= self.cv
        folds = (StratifiedKFold if stratify else KFold)(self.cv, **options)
        training, held_out = list(folds.split(np.zeros(len(y)), y if stratify else None))[fold]
        return self.train.take(training), self.train.take(held_out)

    def validation_rows(self) -> int:
        """Rows that score one run (of the smallest fold)."""
        return len(self.train.y) // self.folds if self.validation is None else len(self.validation.y)

    def describe(self) -> dict[str, Any]:
        """JSON values that are equal for two studies whose runs may be mixed, by a name for each."""
        settings = self.estimator.get_params(deep=False)
        return {
            "estimator": type(self.estimator).__name__,
            **{name: _plain(value) for name, value in settings.items() if name not in VARIED},
            "cv": self.cv,
            "random_state": self.random_state,
            "training data": _digest(self.train),
            "validation data": _digest(self.validation),
            "test data": _digest(self.test),
        }


def make_problem(
    X: Any,
    y: Any,
    estimator: SequenceEstimator | None,
    cv: int | None,
    validation: tuple[Any, Any] | None,
    test: tuple[Any, Any] | float | None,
    random_state: int,
) -> Problem:
    """Check and split; see `unspool.study.compare`."""
    check_int("compare", "random_state", random_state, 0)
    if estimator is not None and not isinstance(estimator, SequenceEstimator):
        bad_parameter("compare", "estimator", "a SequenceRegressor or SequenceClassifier", estimator)
    raw = read_input(X) if estimator is None else _read(X, estimator)
    labels = read_labels(y, len(raw))
    estimator = clone(_default(labels) if estimator is None else estimator)
    check_parameters(type(estimator).__name__, estimator.get_params(deep=False))
    everything = Part(raw, _target(estimator, labels))
    random = np.random.RandomState(random_state)

    test_part = None
    if isinstance(test, (int, float)):
        share = check_float("compare", "test", test, 0, 1, "neither")
        everything, test_part = _split(everything, share, estimator, random)
    elif test is not None:
        test_part = _given(test, raw.kind, estimator)

    held_out = None
    if cv is not None:
        check_int("compare", "cv", cv, 2)
        if validation is not None:
            raise DataError(
                "Give either validation data or cv, not both: each fold is validated in its turn."
            )
        if cv > len(everything.y):
            raise DataError(f"{cv} folds need as many rows at least. Got {len(everything.y)}.")
    elif validation is not None:
        held_out = _given(validation, raw.kind, estimator)
    else:
        everything, held_out = _split(everything, estimator.validation_fraction, estimator, random)
    return Problem(estimator, everything, held_out, test_part, cv, int(random_state))


def default_metric(problem: Problem, metric: str | None) -> str:
    """The one of the task, R2 or accuracy, unless another of its metrics is named."""
    if metric is None:
        return problem.task.default_metric
    return check_choice("compare", "metric", metric, problem.metrics)


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


def _given(data: Any, kind: str, estimator: SequenceEstimator) -> Part:
    if not isinstance(data, tuple) or len(data) != 2:
        bad_parameter("compare", "validation and test", "a pair (X, y)", type(data).__name__)
    raw = _read(data[0], estimator, kind)
    labels = read_labels(data[1], len(raw))
    if not estimator.task.has_classes:
        labels = _target(estimator, labels)
    return Part(raw, labels)


def _split(
    part: Part, share: float, estimator: SequenceEstimator, random: np.random.RandomState
) -> tuple[Part, Part]:
    """(the rest, a drawn share); for classes stratified, and no class is held out whole."""
    if len(part.y) < 2:
        raise DataError(f"At least two sequences are needed to hold some back. Got {len(part.y)}.")
    classes = part.y if estimator.task.has_classes else None
    rest, held_out = split_rows(len(part.y), share, classes, random)
    if classes is not None:
        unseen = ~np.isin(classes[held_out], classes[rest])
        rest, held_out = np.sort(np.concatenate([rest, held_out[unseen]])), held_out[~unseen]
    return part.take(rest), part.take(held_out)


def _digest(part: Part | None) -> str | None:
    """SHA-256 of the rows of a part."""
    if part is None:
        return None
    total = hashlib.sha256()
    if part.X.kind == "text":
        total.update(json.dumps(part.X.data).encode())
    else:
        total.update(part.X.data.offsets.numpy().tobytes())
        total.update(np.ascontiguousarray(part.X.data.values.numpy()).tobytes())
    if part.X.columns:
        total.update(json.dumps({name: list(v) for name, v in part.X.columns.items()}, default=str).encode())
    total.update(json.dumps(part.y.tolist(), default=str).encode())
    return total.hexdigest()


def _plain(value: Any) -> Any:
    """JSON values; a function or class by its name."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
