"""What a search gives: its trials, which settings are kept and why, and the models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unspool.estimators import SequenceEstimator
from unspool.evaluation.metrics import METRICS, Metrics, shown
from unspool.study.kinds.targets import TargetPart
from unspool.study.statistics import LEVEL, Estimate, estimate
from unspool.tuning.problem import Problem
from unspool.tuning.progress import counted, settings_text, value_text
from unspool.tuning.space import Axis
from unspool.tuning.trials import COMPLETE, CUT, FAILED, PRUNED, Outcome, configured

SHARES = ("accuracy", "exact_match")  # metrics that move in steps of 1 / rows


@dataclass(frozen=True)
class Tried:
    """A trial: its number, what was drawn by name, and its outcome. default: the estimator as given."""

    number: int
    settings: Mapping[str, Any]
    outcome: Outcome
    default: bool = False


@dataclass
class Tuning:
    """What `tune` found.

    trials: all that ended, the default among them. chosen: the best of them on the validation part, None where none
    was better than the default. repeats: the runs of the default and of the chosen with the same other seeds and
    validation parts. kept: "chosen" or "default". settings: of `kept`, beside those of the estimator. table: a polars
    DataFrame, a row a trial. model: `kept`, trained as `fit` trains it. test: its metrics and the other's on the test
    part, where there is one. interrupted: by Ctrl-C; the same call goes on then. looked: the trials that the test part
    was already measured with, in earlier calls.
    """

    problem: Problem
    axes: list[Axis]
    default: Outcome
    trials: list[Tried]
    chosen: Tried | None
    repeats: list[tuple[Outcome, Outcome]]
    seconds: float
    data: tuple[Any, Any, tuple[Any, Any] | None]
    tested: TargetPart | None = None
    verbose: int = 0
    interrupted: bool = False
    looked: list[int | None] = field(default_factory=list)

    def __repr__(self) -> str:
        return self.summary()

    # --- which

    @cached_property
    def difference(self) -> Estimate | None:
        """Chosen minus default over the repeats, as they count for the metric (more is better); None without two.

        The parts share most of their rows, so that the variance of the mean is taken as (1/n + validation rows /
        training rows) times that of the differences (Nadeau & Bengio, Machine Learning 52, 2003).
        """
        pairs = [pair for pair in self.repeats if all(run.state == COMPLETE for run in pair)]
        if len(pairs) < 2 or len(pairs) < len(self.repeats):
            return None
        metric, sign = self.problem.metric, self.problem.sign
        values = [sign * (new.metrics[metric] - old.metrics[metric]) for old, new in pairs]  # type: ignore[operator]
        step = 1 / len(self.problem.validation) if metric in SHARES else 0.0
        return estimate(values, self.problem.ratio, step)

    @property
    def kept(self) -> str:
        """ "chosen" where it is better than the default beyond the noise of the repeats, else "default"."""
        d = self.difference
        better = d is not None and d.p is not None and d.mean > 0 and d.p < LEVEL
        return "chosen" if better else "default"

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the estimator as given in the settings that are kept."""
        return dict(self.chosen.settings) if self.kept == "chosen" and self.chosen is not None else {}

    # --- models

    @cached_property
    def models(self) -> dict[str, SequenceEstimator]:
        """ "default", and "chosen" where there is one: each trained as `fit` does it, with the first seed."""
        found = {"default": self._fitted({})}
        if self.chosen is not None:
            found["chosen"] = self._fitted(self.chosen.settings)
        return found

    def train(self) -> None:
        """Train `models` now."""
        _ = self.models

    def _fitted(self, settings: Mapping[str, Any]) -> SequenceEstimator:
        X, y, validation = self.data
        problem = self.problem
        if self.verbose:
            print(f"Training {settings_text(settings) or 'the default'}.", flush=True)
        model = configured(problem.estimator, settings, problem.random_state, self.verbose)
        model.fit(X, y, validation_data=validation)
        if model.interrupted_:
            raise KeyboardInterrupt
        return model

    @property
    def model(self) -> SequenceEstimator:
        """The one that is kept, fitted."""
        return self.models[self.kept]

    @cached_property
    def test(self) -> dict[str, Metrics] | None:
        """The metrics of `models` on the test part, which nothing was chosen by; None without one."""
        if self.tested is None:
            return None
        return {name: self.problem.data.measure(model, self.tested) for name, model in self.models.items()}

    # --- said

    @property
    def table(self) -> pl.DataFrame:
        """A row a trial: number, state, every metric of the validation part, seconds, epochs, settings."""
        records = []
        for t in self.trials:
            record: dict[str, Any] = {"trial": t.number, "state": "default" if t.default else t.outcome.state}
            record |= {f"validation_{m}": t.outcome.metrics.get(m) for m in self.problem.data.metrics}
            record |= {"seconds": t.outcome.seconds, "epochs": len(t.outcome.curve), "error": t.outcome.error}
            own = (
                t.settings
                if not t.default
                else {a.name: getattr(self.problem.estimator, a.name) for a in self.axes}
            )
            record |= {
                a.name: own[a.name] if _plain(own[a.name]) else value_text(own[a.name]) for a in self.axes
            }
            records.append(record)
        mixed = {a.name for a in self.axes if len({type(r[a.name]) for r in records}) > 1 and a.choices}
        for record in records:
            record |= {name: str(record[name]) for name in mixed}
        return pl.DataFrame(records, infer_schema_length=None)

    def verdict(self) -> list[str]:
        """What the search found, in sentences."""
        problem, heading = self.problem, METRICS[self.problem.metric][0]
        default = f"{heading} {shown(self.default.metrics[problem.metric])}"
        rows = f"{len(problem.validation):,} validation rows"
        tried = [t for t in self.trials if not t.default]
        states = [t.outcome.state for t in tried]
        counts = [(states.count(COMPLETE), "complete"), (states.count(PRUNED), "given up by their curves")]
        counts += [(states.count(CUT), "cut by the clock"), (states.count(FAILED), "failed")]
        lines = [
            f"{counted(len(tried), 'trial')}: {', '.join(f'{n} {what}' for n, what in counts if n) or 'none ended'}."
        ]
        errors = sorted({t.outcome.error for t in tried if t.outcome.error})
        if errors:
            lines.append(f"A trial failed: {errors[0]}")
        if self.chosen is None:
            lines.append(f"None was better than the default ({default}, {rows}). The default is kept.")
            return lines
        best = shown(self.chosen.outcome.metrics[problem.metric])
        lines.append(
            f"The best on the validation part ({rows}): trial {self.chosen.number}, {heading} {best}, the default "
            f"{default.split()[-1]}. That is the best of {len(tried)} draws, and flatters it."
        )
        return lines + self._compared(heading)

    def _compared(self, heading: str) -> list[str]:
        d, metric = self.difference, self.problem.metric
        failed = [run.error for pair in self.repeats for run in pair if run.state != COMPLETE]
        if failed:
            return [f"A repeated run failed: {failed[0]} The default is kept."]
        if d is None:
            return ["They were not repeated, so that nothing can be said. The default is kept."]
        means = [float(np.mean([pair[i].metrics[metric] for pair in self.repeats])) for i in (1, 0)]
        sign = self.problem.sign
        low, high = sorted((sign * (d.low or 0.0), sign * (d.high or 0.0)))
        line = (
            f"In {d.runs} repeats with other seeds and validation parts: {heading} {shown(means[0])}, the default "
            f"{shown(means[1])}; difference {sign * d.mean:+.3g}, 95 % interval {low:+.3g} to {high:+.3g}, p {d.p:.2g}."
        )
        if self.kept == "chosen":
            return [line, "Better beyond the noise: the chosen settings are kept."]
        return [line, "Not better beyond the noise: the default is kept."]

    def summary(self) -> str:
        """The verdict, the settings, and the test part's figures where there is a test part, as text."""
        lines = self.verdict()
        if self.chosen is not None:
            lines.append(f"Settings of trial {self.chosen.number}: {settings_text(self.chosen.settings)}.")
        if self.test is not None:
            told = [f"{name} {shown(m[self.problem.metric])}" for name, m in self.test.items()]
            lines.append(f"Test part: {METRICS[self.problem.metric][0]} of {', '.join(told)}; one fit each.")
        return "\n".join([*lines, *filter(None, [self.looked_before()])])

    def looked_before(self) -> str | None:
        """That the test part was measured before the search went on, where it was; None where it was not."""
        now = None if self.chosen is None else self.chosen.number
        if all(number == now for number in self.looked):
            return None
        return "The test part was looked at before this search went on, so that its figures may flatter."

    def write(self, folder: str | os.PathLike[str]) -> None:
        """trials.csv and the plots (`unspool.tuning.plots`) to a folder."""
        from unspool.files import write_text
        from unspool.tuning.plots import draw

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "trials.csv", self.table.write_csv())
        draw(self, folder)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
