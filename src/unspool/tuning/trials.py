"""One training with one choice of settings, given up where its validation curve is worse than most before it."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from unspool.errors import UnspoolError
from unspool.estimators import SequenceEstimator
from unspool.evaluation.metrics import METRICS, Metrics
from unspool.training.callbacks import Callback, shortfall
from unspool.tuning.problem import Problem

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from unspool.training import Trainer

COMPLETE, PRUNED, CUT, FAILED = "complete", "pruned", "cut", "failed"
STARTUP, WARMUP, FEWEST = 5, 3, 3  # trials, epoch and curves from which one is given up


@dataclass(frozen=True)
class Trial:
    """What to run: a plain dict of settings, so that it can go to any process.

    number: in the study; None: it is not of the search. draw: see `Problem.parts`, and the seed with it. finished: the
    trials that its curve is held against; empty: it is never given up. deadline: by `time.time`, when it is cut.
    """

    number: int | None
    settings: Mapping[str, Any]
    draw: int | None = None
    finished: Sequence[FrozenTrial] = ()
    deadline: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it. state: "complete", "pruned", "cut" (by the deadline) or "failed" (error says why).

    metrics: of the validation part. curve: its loss after each epoch. seconds: of all.
    """

    state: str
    metrics: Metrics = field(default_factory=dict)
    curve: list[float] = field(default_factory=list)
    seconds: float = 0.0
    parameters: int = 0
    error: str | None = None

    @classmethod
    def read(cls, found: Mapping[str, Any], curve: Sequence[float] | None = None) -> Outcome:
        """Of what a study's file holds; `ValueError` for what no run gave."""
        kept = {f.name: found[f.name] for f in fields(cls) if f.name in found}
        outcome = cls(**kept) if curve is None else cls(**{**kept, "curve": list(curve)})
        numbers = [*outcome.curve, outcome.seconds, *(v for v in outcome.metrics.values() if v is not None)]
        good = outcome.state in (COMPLETE, PRUNED, CUT, FAILED) and all(
            type(v) in (int, float) for v in numbers
        )
        if (
            not good
            or (outcome.state == COMPLETE) != bool(outcome.metrics)
            or type(outcome.parameters) is not int
        ):
            raise ValueError(f"no run gave {found}")
        return outcome


class Ended(Exception):
    """Ends a training from within."""


class Watch(Callback):
    """Keeps the validation curve of a training, of an ensemble that of its first member, and ends it where optuna's
    median pruner says so, or at the deadline."""

    def __init__(self, finished: Sequence[FrozenTrial], deadline: float | None) -> None:
        self.curve: list[float] = []
        self.deadline, self.trainings, self.state = deadline, 0, COMPLETE
        self.trial = _beside(finished) if finished else None

    def on_train_begin(self, trainer: Trainer) -> None:
        self.trainings += 1

    def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
        if self.deadline is not None and time.time() > self.deadline:
            self._end(CUT)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.trainings > 1 or trainer.validation is None:
            return
        self.curve.append(shortfall(trainer.history[-1]))
        if self.trial is not None:
            self.trial.report(-self.curve[-1], len(self.curve))
            if self.trial.should_prune():
                self._end(PRUNED)

    def _end(self, state: str) -> None:
        self.state = state
        raise Ended


def _beside(finished: Sequence[FrozenTrial]) -> Any:
    """A trial of a study in memory that knows the finished ones."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(STARTUP, WARMUP, n_min_trials=FEWEST)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.add_trials(finished)
    return study.ask()


def perform(problem: Problem, trial: Trial) -> Outcome:
    """Train, predict, measure. Raises KeyboardInterrupt after Ctrl-C."""
    started = time.perf_counter()
    training, held = problem.parts(trial.draw)
    watch = Watch(trial.finished, trial.deadline)
    seed = (problem.random_state + (trial.draw or 0)) % 2**31
    model = configured(problem.estimator, trial.settings, seed, verbose=0)
    given: dict[str, Any] = {}
    if problem.stops:
        given["validation_data"] = (problem.data.given(held), held.y)
    elif model.early_stopping is None:
        model.set_params(early_stopping=False)

    def outcome(state: str, **more: Any) -> Outcome:
        return Outcome(state, curve=watch.curve, seconds=time.perf_counter() - started, **more)

    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Some labels differ in case")
            model.fit(problem.data.given(training), training.y, callbacks=[watch], **given)
    except Ended:
        return outcome(watch.state)
    except UnspoolError as error:
        return outcome(FAILED, error=str(error))
    if model.interrupted_:
        raise KeyboardInterrupt
    metrics = problem.data.measure(model, held)
    if metrics[problem.metric] is None:
        return outcome(FAILED, error=f"{METRICS[problem.metric][0]} is undefined on the validation part.")
    return outcome(COMPLETE, metrics=metrics, parameters=model.n_parameters_)


def configured(
    estimator: SequenceEstimator, settings: Mapping[str, Any], seed: int, verbose: int
) -> SequenceEstimator:
    """An unfitted copy with these settings."""
    return clone(estimator).set_params(**settings, random_state=seed, verbose=verbose)
