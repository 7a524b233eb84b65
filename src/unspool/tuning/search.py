"""The search: the default first, then trials as long as the budget lasts, then the best of them against the default."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from unspool.errors import UnspoolError
from unspool.study.workers import Runner
from unspool.tuning.problem import Problem
from unspool.tuning.progress import TuningProgress
from unspool.tuning.space import Axis
from unspool.tuning.storage import sampler
from unspool.tuning.trials import COMPLETE, FAILED, PRUNED, Outcome, Trial

FEWEST_PAIRS = 2


@dataclass
class Budget:
    """seconds: of search, repeats and both last fits, over all calls; trials: beside the default. None: no limit.

    spent: in calls before this one. Half of the seconds at least are the search's.
    """

    seconds: float | None
    trials: int | None
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds so far, in all calls."""
        return self.spent + time.monotonic() - self.started

    def search_left(self, reserve: float) -> float | None:
        """Seconds until the search must end, so that `reserve` are left; None without a limit."""
        return None if self.seconds is None else self.seconds - min(reserve, self.seconds / 2) - self.elapsed

    def room(self, seconds: float, last: float) -> bool:
        """Whether so many seconds fit before the last fits, which take `last`."""
        return self.seconds is None or self.elapsed + seconds + last <= self.seconds


@dataclass
class Search:
    """Goes through it all; what it finds is in the study, so that another process can go on."""

    problem: Problem
    axes: list[Axis]
    default_place: dict[str, Any]
    study: Any
    budget: Budget
    repeats: int
    progress: TuningProgress
    asked: dict[int, Any] = field(default_factory=dict)
    jobs: int = 1

    def run(self, runner: Runner) -> None:
        """The default, the search, the repeats: what is not in the study yet."""
        self.jobs = runner.jobs
        self.study.sampler = sampler(self.problem.random_state + len(self.study.trials), self.jobs)
        self._take_up()
        self._default(runner)
        for trial, outcome in runner.run(self._trials()):
            self._keep(trial, outcome)
        self._pairs(runner)

    def _take_up(self) -> None:
        """What was going on when a process was ended is tried again."""
        from optuna.trial import TrialState

        for trial in self.study.trials:
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
                if trial.params:
                    self.study.enqueue_trial(trial.params)

    # --- the default

    @property
    def default(self) -> Outcome | None:
        """The run of the estimator as given, on the parts of the search; None before it."""
        return kept_outcome(self.study, "default")

    def _default(self, runner: Runner) -> None:
        if self.default is not None:
            return
        for _, outcome in runner.run(iter([Trial(None, {})])):
            if outcome.state != COMPLETE:
                raise UnspoolError(f"The settings as given cannot be trained: {outcome.error}")
            self._store("default", outcome)
            from optuna.trial import create_trial

            shapes = {axis.name: axis.distribution for axis in self.axes if axis.name in self.default_place}
            self.study.add_trial(
                create_trial(
                    value=self._score(outcome),
                    params=self.default_place,
                    distributions=shapes,
                    intermediate_values=_steps(outcome),
                    user_attrs={"default": True, **_attributes(outcome)},
                )
            )
            budget = self.budget.seconds
            self.progress.default(outcome, budget and budget * self.jobs / max(outcome.seconds, 1e-9))

    def _score(self, outcome: Outcome) -> float:
        """What optuna makes large."""
        value = outcome.metrics[self.problem.metric]
        assert value is not None
        return self.problem.sign * value

    def _store(self, name: str, outcome: Outcome) -> None:
        self.study.set_user_attr(name, asdict(outcome))
        self.study.set_user_attr("spent", self.budget.elapsed)

    # --- the trials

    def _trials(self) -> Iterator[Trial]:
        distributions = {axis.name: axis.distribution for axis in self.axes}
        while self._may_start():
            asked = self.study.ask(distributions)
            self.asked[asked.number] = asked
            settings = self.settings(asked.params)
            left = self.budget.search_left(self._reserve())
            yield Trial(
                asked.number,
                settings,
                finished=_complete(self.study) if self.problem.stops else (),
                deadline=None if left is None else time.time() + left,
            )

    def settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """The estimator's parameters for what was drawn."""
        return {axis.name: axis.value(params[axis.name]) for axis in self.axes if axis.name in params}

    def _may_start(self) -> bool:
        if self.budget.trials is not None and len(tried(self.study)) + len(self.asked) >= self.budget.trials:
            return False
        left = self.budget.search_left(self._reserve())
        return left is None or left > 0

    def _reserve(self) -> float:
        """Seconds for the repeats and both last fits."""
        pair = self._pair_seconds()
        return self.repeats * pair / self.jobs + pair

    def _pair_seconds(self) -> float:
        default, best = self.default, self.best()
        assert default is not None
        return default.seconds + (default.seconds if best is None else best.user_attrs["seconds"])

    def _keep(self, trial: Trial, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        assert trial.number is not None
        asked = self.asked.pop(trial.number)
        for step, value in _steps(outcome).items():
            asked.report(value, step)
        for name, value in _attributes(outcome).items():
            asked.set_user_attr(name, value)
        if outcome.state == COMPLETE:
            self.study.tell(asked, self._score(outcome))
        else:  # one that was cut tells nothing about its settings
            self.study.tell(asked, state=TrialState.PRUNED if outcome.state == PRUNED else TrialState.FAIL)
        self.study.set_user_attr("spent", self.budget.elapsed)
        best, left = self.best(), self.budget.search_left(self._reserve())
        number, done = None if best is None else best.number, len(tried(self.study))
        self.progress.trial(trial, outcome, number, done, self.budget.trials, left)

    def best(self) -> Any | None:
        """The complete trial of the best score that is better than the default's; None where there is none."""
        default = self.default
        assert default is not None
        found = [t for t in tried(self.study) if t.value is not None and t.user_attrs["state"] == COMPLETE]
        best = max(found, key=lambda t: t.value, default=None)
        return best if best is not None and best.value > self._score(default) else None

    # --- the repeats

    def _pairs(self, runner: Runner) -> None:
        best = self.best()
        if best is None:
            return
        seconds = self._pair_seconds()
        self.progress.repeats(best.number, self.repeats, seconds / self.jobs)
        settings = {"default": {}, best.number: self.settings(best.params)}
        named: dict[int, str] = {}

        def wanted() -> Iterator[Trial]:
            for repeat in range(1, self.repeats + 1):
                done = pairs(self.study, best.number, self.repeats)
                took = sum(run.seconds for pair in done for run in pair) / len(done) if done else seconds
                if repeat > max(FEWEST_PAIRS, len(done)) and not self.budget.room(took / self.jobs, took):
                    return
                for name, own in settings.items():
                    if kept_outcome(self.study, _pair_name(name, repeat)) is None:
                        trial = Trial(None, own, draw=repeat)
                        named[id(trial)] = _pair_name(name, repeat)
                        yield trial

        for trial, outcome in runner.run(wanted()):
            self._store(named[id(trial)], outcome)
            self.progress.repeated(named[id(trial)], outcome)

    def repeated(self) -> list[tuple[Outcome, Outcome]]:
        """The repeats of the default and of the best trial; empty where there is none."""
        best = self.best()
        return [] if best is None else pairs(self.study, best.number, self.repeats)


def _pair_name(name: Any, repeat: int) -> str:
    return f"repeat {repeat} of {name if name == 'default' else f'trial {name}'}"


def pairs(study: Any, number: int, most: int) -> list[tuple[Outcome, Outcome]]:
    """The runs of the default and of a trial with the same seeds and parts, the first ones that both have."""
    found = []
    for repeat in range(1, most + 1):
        pair = [kept_outcome(study, _pair_name(name, repeat)) for name in ("default", number)]
        if pair[0] is None or pair[1] is None:
            break
        found.append((pair[0], pair[1]))
    return found


def kept_outcome(study: Any, name: str) -> Outcome | None:
    """Of a run that is no trial; None while there is none."""
    found = study.user_attrs.get(name)
    return None if found is None else Outcome.read(found)


def tried(study: Any) -> list[Any]:
    """The trials that ended, but for the default and those that were cut."""
    ended = (COMPLETE, PRUNED, FAILED)
    return [
        t
        for t in study.get_trials(deepcopy=False)
        if t.user_attrs.get("state") in ended and "default" not in t.user_attrs
    ]


def _complete(study: Any) -> list[Any]:
    """The complete trials with their curves alone, for a pruner in another process."""
    from optuna.trial import TrialState, create_trial

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [create_trial(value=t.value, intermediate_values=t.intermediate_values) for t in done]


def _steps(outcome: Outcome) -> dict[int, float]:
    return {epoch: -loss for epoch, loss in enumerate(outcome.curve, 1)}


def _attributes(outcome: Outcome) -> dict[str, Any]:
    found = asdict(outcome)
    found.pop("curve")
    return found
