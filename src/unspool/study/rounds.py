"""The order of the runs: rounds of one repeat each, the budget, and what is not repeated further."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from unspool.study.arrangements import Arrangement
from unspool.study.comparison import Comparison
from unspool.study.jobs import Job, Run
from unspool.study.problem import Problem
from unspool.study.progress import StudyProgress, duration
from unspool.study.results import Entry, dropped_after
from unspool.study.store import Store
from unspool.study.workers import Runner


@dataclass
class Plan:
    """Which runs, in which order; `tasks` are those of one repeat, all arrangements' first fold first."""

    problem: Problem
    sizes: dict[Arrangement, int]
    metric: str
    repeats: int
    drop: bool
    baselines: bool

    def baseline_tasks(self) -> list[Job]:
        """A job for each fold of the first repeat; none without baselines."""
        return [Job(None, 0, 0, fold) for fold in range(self.problem.folds)] if self.baselines else []

    def tasks(self, repeat: int, active: Iterable[Arrangement]) -> list[Job]:
        """The jobs of one repeat of the arrangements `active`."""
        active = list(active)
        return [Job(a, self.sizes[a], repeat, f) for f in range(self.problem.folds) for a in active]

    def largest_round(self) -> int:
        """Jobs of a repeat of all arrangements."""
        return len(self.sizes) * self.problem.folds


@dataclass
class Budget:
    """Whether one more run may start. `reserve`: keep time to train the winner once more at the end."""

    started: float
    seconds: float | None
    runs: int | None
    reserve: bool
    new: int = 0

    def allows(self, seconds: float, longest: float) -> bool:
        """A run of about `seconds`; `longest`: of the slowest arrangement."""
        if self.runs is not None and self.new >= self.runs:
            return False
        if self.seconds is None:
            return True
        return time.monotonic() - self.started + seconds + self.reserve * longest <= self.seconds

    def left(self) -> float | None:
        """Seconds that are left; None without a limit."""
        return None if self.seconds is None else max(0.0, self.seconds - time.monotonic() + self.started)


@dataclass
class Loop:
    """Goes through the rounds; after it, `entries` and `baselines` hold what was run."""

    plan: Plan
    store: Store
    budget: Budget
    progress: StudyProgress
    jobs: int = 1
    ended: str | None = None  # "time", "runs" or "interrupted"; None: every run is done
    done: int = 0
    entries: dict[Arrangement, Entry] = field(default_factory=dict)
    baselines: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entries = {a: Entry(a, size) for a, size in self.plan.sizes.items()}

    def run(self, workers: Runner) -> None:
        """All rounds, until they are done or the budget is spent."""
        self.jobs = workers.jobs
        self._round(workers, self.plan.baseline_tasks(), self.plan.repeats)
        if self.ended:
            return
        for repeat in range(self.plan.repeats):
            self._round(workers, self.plan.tasks(repeat, self._active()), self.plan.repeats - repeat - 1)
            if self.ended:
                return
            if self.plan.drop and 1 <= repeat < self.plan.repeats - 1:
                self._drop(repeat)

    def _active(self) -> list[Arrangement]:
        return [a for a, entry in self.entries.items() if entry.racing(self.plan.metric)]

    def _drop(self, repeat: int) -> None:
        racing = [self.entries[a] for a in self._active()]
        for entry in dropped_after(racing, self.plan.problem, self.plan.metric):
            entry.dropped = repeat + 1
            self.progress.say(f"{entry.name} is clearly below the best: not repeated further.")

    def _round(self, workers: Runner, tasks: list[Job], later: int) -> None:
        """All `tasks` that are not finished yet; `later` repeats are to come."""
        for task in tasks:
            if (runs := self.store.get(task)) is not None:
                self._keep(task, runs)
        fresh = [task for task in tasks if self.store.get(task) is None]
        planned = [task for task in fresh if task.arrangement is not None]
        total = self.done + len(planned) + later * len(self.plan.tasks(0, self._active()))
        for task, runs in workers.run(self._startable(fresh)):
            self.store.add(task, runs)
            self._keep(task, runs)
            left = self._left(total - self.done)
            for run in runs:
                self.progress.finished(run, self.done, total, left)

    def _startable(self, tasks: list[Job]) -> Iterator[Job]:
        for task in tasks:
            if not self.budget.allows(self._expected(task), self._longest()):
                self.ended = "runs" if self.budget.runs == self.budget.new else "time"
                return
            self.budget.new += task.arrangement is not None
            yield task

    def _keep(self, task: Job, runs: list[Run]) -> None:
        if task.arrangement is None:
            self.baselines.extend(runs)
        else:
            self.entries[task.arrangement].runs[runs[0].place] = runs[0]
            self.done += 1

    def _expected(self, task: Job) -> float:
        """Seconds that a run will take: the median of its arrangement's runs, else of all."""
        own = [] if task.arrangement is None else list(self.entries[task.arrangement].runs.values())
        runs = own or [run for entry in self.entries.values() for run in entry.runs.values()]
        return median([run.seconds for run in runs]) if runs else 0.0

    def _longest(self) -> float:
        slowest = max((e.seconds() for e in self.entries.values() if e.runs), default=0.0)
        return slowest * (1 + self.plan.problem.ratio)

    def _left(self, runs: int) -> float | None:
        """Seconds until `runs` more are done, or until the budget is spent."""
        counted = [run.seconds for entry in self.entries.values() for run in entry.runs.values()]
        if not counted:
            return None
        seconds = runs * median(counted) / self.jobs
        budget = self.budget.left()
        return seconds if budget is None else min(seconds, budget)

    def result(self) -> Comparison:
        """What was found so far."""
        runs = f"{self.budget.runs} run{'s' if self.budget.runs != 1 else ''}"
        ends = {
            "time": f"The budget of {duration(self.budget.seconds or 0)} was spent before every run was done.",
            "runs": f"The budget of {runs} was spent before every run was done.",
            "interrupted": "The study was interrupted.",
            None: "",
        }
        return Comparison(
            problem=self.plan.problem,
            metric=self.plan.metric,
            repeats=self.plan.repeats,
            entries=list(self.entries.values()),
            baseline_runs=sorted(self.baselines, key=lambda run: run.place),
            ending=ends[self.ended],
            interrupted=self.ended == "interrupted",
        )
