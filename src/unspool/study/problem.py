"""What every run of a study shares: the data, its parts, and the estimator whose settings are kept.

Of each kind of estimator there is one in `unspool.study.kinds`, with what it varies, learns from and measures.
"""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from unspool.errors import DataError, check_choice, check_float, check_int
from unspool.estimators.network import count_parameters
from unspool.estimators.splitting import split_rows
from unspool.evaluation.metrics import Metrics
from unspool.nn import Recurrent
from unspool.nn.shapes import shapes_alone
from unspool.study.arrangements import Grid

VARIED = ("cell", "pooling", "num_layers", "bidirectional", "random_state", "verbose")
Headings = Mapping[str, tuple[str, bool]]


@dataclass(frozen=True)
class Part:
    """Rows of one part, as lists that are as long as each other: n texts, or n sentences with n lists of tags, ..."""

    columns: tuple[list[Any], ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, rows: np.ndarray) -> Part:
        """The rows of an index array."""
        return Part(tuple([column[i] for i in rows] for column in self.columns))

    def digest(self) -> str:
        """SHA-256 of the rows."""
        return hashlib.sha256(json.dumps(self.columns, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Fitted:
    """A baseline: `measure` gives its metrics on a part. seconds: of its training. settings: what it chose."""

    name: str
    measure: Callable[[Any], Metrics]
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem(ABC):
    """train: the rows to learn from. validation: None for cross-validation in `cv` folds. test: may be None.

    Parts have a length, `take(rows)` and `digest()`. grid: what arrangements vary. of: what a row is, in words.
    """

    estimator: Any
    train: Any
    validation: Any | None
    test: Any | None
    cv: int | None
    random_state: int

    grid: ClassVar[Grid]
    of: ClassVar[str] = "rows"

    @classmethod
    @abstractmethod
    def make(cls, X: Any, y: Any, labels: Any, estimator: Any, asked: Asked) -> Problem:
        """Read, check and split what `unspool.study.compare` was given."""

    @property
    @abstractmethod
    def metrics(self) -> Headings:
        """The metrics: name -> (heading, whether more is better)."""

    @property
    @abstractmethod
    def default_metric(self) -> str:
        """That ranks unless another is named."""

    @abstractmethod
    def fit(self, model: Any, training: Any, validation: Any | None) -> None:
        """Fit an estimator."""

    @abstractmethod
    def measure(self, model: Any, part: Any) -> Metrics:
        """The metrics of a fitted estimator on a part; of several targets, their means."""

    @abstractmethod
    def baselines(self, training: Any, validation: Any | None) -> list[Fitted]:
        """What a model must beat."""

    # --- the report

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """Lines on the data: "input", "target"."""

    predicting: ClassVar[str] = ""
    stops_on_validation: ClassVar[bool] = True

    # --- what is the same for all, unless a kind has it otherwise

    def few(self, training: Any) -> Any:
        """Some rows, enough to train on for an epoch."""
        return training.take(np.arange(min(len(training), 2 * self.estimator.batch_size)))

    def short(self) -> Problem:
        """The same with one epoch."""
        return replace(self, estimator=clone(self.estimator).set_params(epochs=1))

    def recurrent_parameters(self, model: Any) -> int:
        """Trainable numbers in the recurrent layers of a fitted estimator."""
        found: list[Any] = []
        for module in model.network_.modules():
            if isinstance(module, Recurrent) and not any(module in set(f.modules()) for f in found):
                found.append(module)
        return sum(count_parameters(module) for module in found)

    @abstractmethod
    def blank(self) -> Any:
        """A copy of the estimator that knows of the data what decides the widths of its recurrent layers."""

    def network(self, model: Any) -> Any:
        """A new network of a `blank` one."""
        return model._build_network()

    def sizes(self, chosen: Any, equal: bool) -> dict[Any, int]:
        """The hidden size of each arrangement; equal: that with which its recurrent layers have the number of
        parameters nearest to that of the estimator as it is."""
        if not equal:
            size = check_int("compare", "estimator.hidden_size", self.estimator.hidden_size)
            return dict.fromkeys(chosen, size)
        model = self.blank()

        def count(**settings: Any) -> int:
            made = copy.copy(model).set_params(**settings)
            with shapes_alone():
                made.network_ = self.network(made)
            return self.recurrent_parameters(made)

        target = count()
        return {a: nearest_size(partial(count, **a.settings()), target) for a in chosen}

    def finished(self, model: Any) -> Any:
        """The winner as it is kept."""
        return model

    def strata(self) -> np.ndarray | None:
        """Classes (n,) of the training rows by which folds are drawn; None: at random."""
        return None

    @property
    def folds(self) -> int:
        """Runs of an arrangement in one repeat."""
        return self.cv or 1

    @property
    def ratio(self) -> float:
        """Rows of a validation fold by rows of its training folds; 0 where all runs share one split."""
        return 1 / (self.cv - 1) if self.cv else 0.0

    def seed(self, repeat: int) -> int:
        """Of weights and batches in repeat 0, 1, ...; the same for every arrangement."""
        return self.random_state + repeat

    def parts(self, repeat: int, fold: int) -> tuple[Any, Any]:
        """(training part, validation part) of a run; each repeat of a cross-validation draws its own folds."""
        if self.validation is not None:
            return self.train, self.validation
        assert self.cv is not None
        y, options = self.strata(), {"shuffle": True, "random_state": self.seed(repeat)}
        stratify = y is not None and int(np.unique(y, return_counts=True)[1].min()) >= self.cv
        folds = (StratifiedKFold if stratify else KFold)(self.cv, **options)
        rows = np.zeros(len(self.train))
        training, held_out = list(folds.split(rows, y if stratify else None))[fold]
        return self.train.take(training), self.train.take(held_out)

    def validation_rows(self) -> int:
        """Rows that score one run (of the smallest fold)."""
        return len(self.train) // self.folds if self.validation is None else len(self.validation)

    def describe(self) -> dict[str, Any]:
        """JSON values that are equal for two studies whose runs may be mixed, by a name for each."""
        settings = self.estimator.get_params(deep=False)
        varied = {*VARIED, *([self.grid.parameter] if self.grid.parameter else [])}
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        return {
            "estimator": type(self.estimator).__name__,
            **{name: plain(value) for name, value in settings.items() if name not in varied},
            "cv": self.cv,
            "random_state": self.random_state,
            **{f"{name} data": None if part is None else part.digest() for name, part in parts.items()},
        }


@dataclass(frozen=True)
class Asked:
    """The arguments of `unspool.study.compare` that say which rows are for what."""

    cv: int | None
    validation: Any
    test: Any
    random_state: int

    def divide(
        self,
        everything: Any,
        given: Callable[[Any], Any],
        split: Callable[[Any, float, np.random.RandomState], tuple[Any, Any]],
        fraction: float,
    ) -> tuple[Any, Any, Any]:
        """(training, validation or None, test or None). given: reads a part that was passed; split: (part, share,
        random) -> (the rest, a drawn share); fraction: for the validation where none is passed."""
        random = np.random.RandomState(self.random_state)
        tested = held_out = None
        if isinstance(self.test, (int, float)):
            share = check_float("compare", "test", self.test, 0, 1, "neither")
            everything, tested = split(everything, share, random)
        elif self.test is not None:
            tested = given(self.test)
        if self.cv is not None:
            check_int("compare", "cv", self.cv, 2)
            if self.validation is not None:
                raise DataError(
                    "Give either validation data or cv, not both: each fold is validated in its turn."
                )
            if self.cv > len(everything):
                raise DataError(f"{self.cv} folds need as many rows at least. Got {len(everything)}.")
        elif self.validation is not None:
            held_out = given(self.validation)
        else:
            everything, held_out = split(everything, fraction, random)
        return everything, held_out, tested


def split_part(part: Any, share: float, random: np.random.RandomState) -> tuple[Any, Any]:
    """(the rest, a share of the rows, drawn)."""
    if len(part) < 2:
        raise DataError(f"At least two rows are needed to hold some back. Got {len(part)}.")
    rest, held_out = split_rows(len(part), share, None, random)
    return part.take(rest), part.take(held_out)


def nearest_size(count: Callable[..., int], target: int) -> int:
    """The hidden size whose `count(hidden_size=...)` is nearest to `target`.

    The number grows with the hidden size, so the search halves an interval: about 2 log2(size) trials.
    """
    high = 1
    while count(hidden_size=high) < target:
        high *= 2
    low = max(1, high // 2)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if count(hidden_size=middle) < target else (low, middle)
    return min((low, high), key=lambda size: abs(count(hidden_size=size) - target))


def chosen_metric(problem: Problem, metric: str | None) -> str:
    """The default one of the problem, unless another of its metrics is named."""
    if metric is None:
        return problem.default_metric
    return check_choice("compare", "metric", metric, problem.metrics)


def plain(value: Any) -> Any:
    """JSON values; an array by its digest, a function or class by its name."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
