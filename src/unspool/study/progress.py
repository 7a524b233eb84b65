"""Progress of a study: a bar with the time left on a terminal, a line a run otherwise."""

from __future__ import annotations

import sys
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from unspool.evaluation.metrics import METRICS, shown


class StudyProgress:
    """verbose 0: silent; 1: a line for each finished run, and on a terminal a bar. A context manager."""

    def __init__(self, metric: str, folds: int, verbose: int) -> None:
        self.metric, self.folds, self.verbose = metric, folds, verbose
        self.bar: Progress | None = None

    def __enter__(self) -> StudyProgress:
        if self.verbose and sys.stdout.isatty():
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            self.bar = Progress(*columns, TextColumn("{task.fields[left]}"), transient=True)
            self.task = self.bar.add_task("runs", total=None, left="")
            self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self.bar is not None:
            self.bar.console.print(line, markup=False, highlight=False)
        elif self.verbose:
            print(line, flush=True)

    def finished(self, run: Any, done: int, total: int, left: float | None) -> None:
        """`run` (a `Run`) ended; `done` of `total` runs are, and about `left` seconds are to come."""
        heading = METRICS[self.metric][0]
        result = "failed" if run.error else f"{heading} {shown(run.validation[self.metric])}"
        fold = f", fold {run.fold + 1}" if self.folds > 1 else ""
        remaining = "" if left is None else f"about {duration(left)} left"
        self.say(
            f"{done:>{len(str(total))}}/{total}  {run.name}  seed {run.seed}{fold}: {result}, "
            f"{run.seconds:.1f} s" + (f"; {remaining}" if remaining and self.bar is None else "")
        )
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, left=remaining)


def duration(seconds: float) -> str:
    """ "45 s", "2 min 10 s", "1 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
