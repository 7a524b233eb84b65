"""One run: train, predict, measure."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from unspool import cells
from unspool.errors import DataError
from unspool.estimators import DivergenceError
from unspool.evaluation.metrics import Metrics
from unspool.study.arrangements import Arrangement
from unspool.study.problem import Problem


@dataclass(frozen=True)
class Job:
    """One run: `arrangement` with `hidden_size` units, or with None the baselines."""

    arrangement: Arrangement | None
    hidden_size: int
    repeat: int
    fold: int

    @property
    def name(self) -> str:
        """The name of its arrangement, or "baselines"."""
        return "baselines" if self.arrangement is None else self.arrangement.name


@dataclass(frozen=True)
class Run:
    """What one run gave. Metrics are means over the targets; `test` is None without a test part.

    seconds: all of it; train_seconds: of `fit`; predict_seconds: for 1,000 sequences. error: why it has no
    metrics (its loss became NaN). history: as `SequenceEstimator.history_`. settings: what a baseline chose.
    """

    name: str
    repeat: int
    fold: int
    seed: int
    hidden_size: int = 0
    validation: Metrics = field(default_factory=dict)
    test: Metrics | None = None
    parameters: int = 0
    recurrent_parameters: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    predict_seconds: float = 0.0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @classmethod
    def read(cls, found: Any) -> Run:
        """Of what a study's file holds; `ValueError` for what no run gave."""
        if not isinstance(found, dict) or not {"name", "repeat", "fold", "seed"} <= {*found} <= {*_HELD}:
            raise ValueError(f"no run has the fields of {found!r:.100}")
        for name, value in found.items():
            if not _HELD[name](value):
                raise ValueError(f"no run has {name} {value!r:.60}")
        return cls(**found)

    @property
    def place(self) -> tuple[int, int]:
        """(repeat, fold)."""
        return self.repeat, self.fold


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(v is None or _number(v) for v in value.values())


#: Of each field of a run, whether a value can be one.
_HELD: dict[str, Callable[[Any], bool]] = {
    "name": lambda v: isinstance(v, str),
    **dict.fromkeys(("repeat", "fold", "seed", "hidden_size"), _whole),
    **dict.fromkeys(("parameters", "recurrent_parameters", "best_epoch"), _whole),
    **dict.fromkeys(("seconds", "train_seconds", "predict_seconds"), _number),
    "validation": _numbers,
    "test": lambda v: v is None or _numbers(v),
    "history": lambda v: isinstance(v, list) and all(map(_numbers, v)),
    "settings": lambda v: isinstance(v, dict),
    "error": lambda v: v is None or isinstance(v, str),
}


def perform(problem: Problem, task: Job) -> list[Run]:
    """Train, predict, measure: one `Run`, or one a baseline. Raises KeyboardInterrupt after Ctrl-C."""
    if task.arrangement is None:
        return _baselines(problem, task)
    training, held_out = problem.parts(task.repeat, task.fold)
    _warm_up(problem, task, training)
    started = time.perf_counter()
    seed = problem.seed(task.repeat)
    facts: dict[str, Any] = {
        "name": task.name,
        "repeat": task.repeat,
        "fold": task.fold,
        "seed": seed,
        "hidden_size": task.hidden_size,
    }
    try:
        model = train(problem, task.arrangement, task.hidden_size, seed, training, problem.validation)
    except DivergenceError as error:
        return [Run(**facts, seconds=time.perf_counter() - started, error=str(error))]
    trained = time.perf_counter()
    validation = problem.measure(model, held_out)
    predicted = time.perf_counter()
    test = None if problem.test is None else problem.measure(model, problem.test)
    run = Run(
        **facts,
        validation=validation,
        test=test,
        parameters=model.n_parameters_,
        recurrent_parameters=problem.recurrent_parameters(model),
        seconds=time.perf_counter() - started,
        train_seconds=trained - started,
        predict_seconds=(predicted - trained) * 1000 / len(held_out),
        best_epoch=model.best_epoch_,
        history=model.history_,
    )
    return [run]


_warm: set[tuple[Arrangement, int]] = set()


def _warm_up(problem: Problem, task: Job, training: Any) -> None:
    """Train the arrangement once in this process for an epoch on a few rows, so that no run is timed with the tracing,
    the loading of libraries and the first touch of memory that only the first one has."""
    assert task.arrangement is not None
    key = (task.arrangement, task.hidden_size)
    if key in _warm:
        return
    _warm.add(key)
    few, short = problem.few(training), problem.short()
    with warnings.catch_warnings(), contextlib.suppress(DivergenceError, DataError):
        warnings.simplefilter("ignore")
        train(short, task.arrangement, task.hidden_size, 0, few, few)


def train(
    problem: Problem,
    arrangement: Arrangement,
    hidden_size: int,
    seed: int,
    training: Any,
    validation: Any | None,
) -> Any:
    """The fitted estimator; KeyboardInterrupt where Ctrl-C cut it short."""
    settings = {**arrangement.settings(), "hidden_size": hidden_size, "random_state": seed, "verbose": 0}
    model = clone(problem.estimator).set_params(**settings)
    with contextlib.redirect_stdout(io.StringIO()):
        problem.fit(model, training, validation)
    if model.interrupted_:
        raise KeyboardInterrupt
    return model


def _baselines(problem: Problem, task: Job) -> list[Run]:
    """A run for each baseline of the problem."""
    training, held_out = problem.parts(task.repeat, task.fold)
    runs = []
    for baseline in problem.baselines(training, problem.validation):
        before = time.perf_counter()
        scores = baseline.measure(held_out)
        predicted = (time.perf_counter() - before) * 1000 / len(held_out)
        run = Run(
            name=baseline.name,
            repeat=task.repeat,
            fold=task.fold,
            seed=problem.random_state,
            validation=scores,
            test=None if problem.test is None else baseline.measure(problem.test),
            train_seconds=baseline.seconds,
            predict_seconds=predicted,
            settings=dict(baseline.settings),
        )
        runs.append(replace(run, seconds=time.perf_counter() - before + run.train_seconds))
    return runs


# --- side by side


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch, the engine and BLAS on one thread: a run has the same bits however many run beside it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def apart(factories: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """In whichever process or node: one thread, and these cells by their names."""
    for name, factory in factories.items():
        cells.registry.setdefault(name, factory)
    with one_thread():
        yield


def perform_apart(context: tuple[Problem, Mapping[str, Callable[..., Any]]], task: Job) -> list[Run]:
    """`perform`, `apart` with the cells that the study names."""
    problem, factories = context
    with apart(factories):
        return perform(problem, task)
