"""Progress of a search: a line a trial, and on a terminal a bar with the time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool.evaluation.metrics import METRICS, shown
from unspool.study.progress import StudyProgress, duration
from unspool.tuning.trials import COMPLETE, Outcome, Trial

FEW = 25  # fits: ten trials at random, five repeats of two, the last ones


class TuningProgress(StudyProgress):
    """verbose 0: silent; 1: a line for each trial that ended, and on a terminal a bar. A context manager."""

    def __init__(self, metric: str, verbose: int) -> None:
        super().__init__(metric, 1, verbose)

    def default(self, outcome: Outcome, fits: float | None) -> None:
        """The default was trained. fits: of this length that the budget of time has room for; None: without one."""
        self.say(f"default: {self._result(outcome)}, {outcome.seconds:.1f} s")
        if fits is not None and fits < FEW:
            self.say(
                f"The budget has room for some {counted(round(fits), 'such fit')}: too few for much of a search."
            )

    def trial(
        self,
        trial: Trial,
        outcome: Outcome,
        best: int | None,
        done: int,
        total: int | None,
        seconds: float | None,
    ) -> None:
        """A trial ended. best: the number of the best one. done: trials that ended, of `total` at most; seconds: that
        the search has left; None: without a limit."""
        left = "" if total is None else counted(total - done, "trial")
        if seconds is not None:
            left = f"about {duration(max(0.0, seconds))}" + (f", {left} at most" if left else "")
        star = " *" if best == trial.number else ""
        tail = f"; {left} of search left" if self.bar is None else ""
        self.say(
            f"trial {trial.number}: {self._result(outcome)}{star}, {outcome.seconds:.1f} s; "
            f"{settings_text(trial.settings)}{tail}"
        )
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, left=left, description="trials")

    def repeats(self, number: int, count: int, seconds: float) -> None:
        """The best trial is about to be held against the default: `count` times at most, `seconds` each time."""
        self.say(
            f"The best, trial {number}, against the default: {count} runs of each as the time allows, other seeds and "
            f"validation parts, about {duration(seconds)} for one of both."
        )

    def repeated(self, name: str, outcome: Outcome) -> None:
        """One of these runs ended."""
        self.say(f"{name}: {self._result(outcome)}, {outcome.seconds:.1f} s")

    def _result(self, outcome: Outcome) -> str:
        if outcome.state == COMPLETE:
            return f"{METRICS[self.metric][0]} {shown(outcome.metrics[self.metric])}"
        epochs = f" after epoch {len(outcome.curve)}" if outcome.curve and outcome.state != "failed" else ""
        return f"{outcome.state}{epochs}" + (f" ({outcome.error})" if outcome.error else "")


def counted(number: int, what: str) -> str:
    """ "1 trial", "2 trials"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def settings_text(settings: Mapping[str, Any]) -> str:
    """ "cell gru, hidden_size 96, dropout 0.31"."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in settings.items())


def value_text(value: Any) -> str:
    """A value of a parameter, of a number three digits."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return " + ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
