"""The results of a study as data: runs, rows, differences, and the winner as a model. Nothing is said of them here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from unspool.errors import DataError
from unspool.evaluation.metrics import METRICS, RANGES, Metrics
from unspool.study.arrangements import Arrangement
from unspool.study.jobs import Run, one_thread, train
from unspool.study.problem import Problem
from unspool.study.statistics import LEVEL, Estimate, compare_with_best, estimate, hopeless

SHARES = (
    "accuracy",
    "macro_f1",
    "exact_match",
    "label_accuracy",
)  # metrics that move in steps of about 1 / rows


@dataclass
class Entry:
    """The runs of an arrangement by (repeat, fold). dropped: after how many repeats, if it was."""

    arrangement: Arrangement
    hidden_size: int
    runs: dict[tuple[int, int], Run] = field(default_factory=dict)
    dropped: int | None = None

    @property
    def name(self) -> str:
        """The name of its arrangement."""
        return self.arrangement.name

    def failure(self, metric: str) -> str | None:
        """Why a run has no score; None if all have one."""
        for run in self.runs.values():
            if run.error:
                return run.error
            if run.validation[metric] is None:
                return f"{METRICS[metric][0]} is undefined in the run of seed {run.seed}."
        return None

    def racing(self, metric: str) -> bool:
        """Whether it is repeated further: neither dropped nor failed."""
        return self.dropped is None and self.failure(metric) is None

    def scores(self, metric: str, cells: Sequence[tuple[int, int]], part: str = "validation") -> np.ndarray:
        """`metric` on a part ("validation" or "test") in the runs `cells` (n,); float64 (n,)."""
        return np.array([getattr(self.runs[cell], part)[metric] for cell in cells], float)

    def seconds(self) -> float:
        """The median of all its runs."""
        return float(np.median([run.seconds for run in self.runs.values()]))


@dataclass(frozen=True)
class Row:
    """An arrangement in the result.

    status: "best", "worse" or "no difference" (to the best, by p), "not tested" (fewer than two runs), "dropped",
    "failed" or "not run". score, test: over the runs that count. difference: to the best, where it was tested.
    """

    entry: Entry
    status: str
    runs: int = 0
    score: Estimate | None = None
    test: Estimate | None = None
    difference: Estimate | None = None

    @property
    def name(self) -> str:
        """The name of its arrangement."""
        return self.entry.name

    def median(self, field: str) -> float:
        """The median of a number of `Run` over all runs: a run that other work slowed down does not count."""
        return float(np.median([getattr(run, field) for run in self.entry.runs.values()]))


@dataclass(frozen=True)
class BaselineRow:
    """A baseline: its mean scores over the folds of the first repeat."""

    name: str
    score: float | None
    test: float | None
    seconds: float
    predict_seconds: float
    runs: list[Run]


@dataclass
class Results:
    """What a study found.

    rows: arrangements, the best first. best: its name. table, runs: polars DataFrames, a row for each arrangement
    and run. model: the winner, trained. interrupted: by Ctrl-C. ending: why not all runs were done, or "".

    A run counts once every arrangement in the race has it (the same seed and fold), so that all numbers are
    paired; with a budget some arrangements may have one run more, which is left out.
    """

    problem: Problem
    metric: str
    repeats: int
    entries: list[Entry]
    baseline_runs: list[Run]
    ending: str = ""
    interrupted: bool = False

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, otherwise -1."""
        return 1 if METRICS[self.metric][1] else -1

    @cached_property
    def racing(self) -> list[Entry]:
        """The arrangements with a first run, not dropped and not failed, the best first."""
        entries = [e for e in self.entries if e.racing(self.metric) and (0, 0) in e.runs]
        means = {e.name: float(e.scores(self.metric, self._common(entries)).mean()) for e in entries}
        return sorted(entries, key=lambda e: -self.sign * means[e.name])

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """The (repeat, fold) of the runs that count."""
        return self._common(self.racing)

    @staticmethod
    def _common(entries: list[Entry]) -> list[tuple[int, int]]:
        return sorted(set.intersection(*(set(e.runs) for e in entries))) if entries else []

    @property
    def best(self) -> str | None:
        """The arrangement of the best mean score on the validation part; None if there is no score at all."""
        return self.racing[0].name if self.racing else None

    @cached_property
    def rows(self) -> list[Row]:
        """Of every arrangement: by mean score, then the dropped, failed and not run."""
        racing = self.racing
        if not racing:
            return [Row(e, "failed" if e.runs else "not run", len(e.runs)) for e in self.entries]
        scores = np.stack([e.scores(self.metric, self.places) for e in racing])
        step = resolution(self.problem, self.metric)
        differences = compare_with_best(scores, 0, self.problem.ratio, step)
        rows = []
        for place, (entry, difference) in enumerate(zip(racing, differences)):
            p = None if difference is None else difference.p
            status = "not tested" if p is None else "worse" if p < LEVEL else "no difference"
            rows.append(self._row(entry, "best" if place == 0 else status, self.places, difference))
        dropped = [e for e in self.entries if e.dropped is not None and e.failure(self.metric) is None]
        rest = [self._row(e, "dropped", sorted(e.runs), None) for e in dropped]
        rows += sorted(rest, key=lambda row: -self.sign * row.score.mean if row.score else 0.0)
        rows += [Row(e, "failed", len(e.runs)) for e in self.entries if e.failure(self.metric)]
        return rows + [Row(e, "not run") for e in self.entries if not e.runs]

    def _row(
        self, entry: Entry, status: str, cells: list[tuple[int, int]], difference: Estimate | None
    ) -> Row:
        ratio, step = self.problem.ratio, resolution(self.problem, self.metric)
        limits = RANGES[self.metric]
        score = estimate(entry.scores(self.metric, cells), ratio, step).within(*limits)
        test = None
        if self.problem.test is not None:
            values = entry.scores(self.metric, cells, "test")
            test = estimate(values, ratio).within(*limits) if np.isfinite(values).all() else None
        return Row(entry, status, len(cells), score, test, difference)

    @cached_property
    def baselines(self) -> list[BaselineRow]:
        """A row for each baseline."""
        rows = []
        for name in dict.fromkeys(run.name for run in self.baseline_runs):
            runs = [run for run in self.baseline_runs if run.name == name]
            rows.append(
                BaselineRow(
                    name=name,
                    score=mean_of([run.validation for run in runs], self.metric),
                    test=mean_of([run.test for run in runs], self.metric),
                    seconds=float(np.mean([run.train_seconds for run in runs])),
                    predict_seconds=float(np.mean([run.predict_seconds for run in runs])),
                    runs=runs,
                )
            )
        return rows

    # --- tables

    @property
    def table(self) -> pl.DataFrame:
        """A row an arrangement, then a row a baseline. Scores are of `metric`; times are medians; p is corrected."""
        records = []
        for row in self.rows:
            score, test, difference = row.score, row.test, row.difference
            timed = bool(row.entry.runs) and row.status != "failed"
            records.append(
                {
                    "arrangement": row.name,
                    "cell": row.entry.arrangement.cell,
                    **_choice(row.entry.arrangement),
                    "layout": row.entry.arrangement.layout,
                    "hidden_size": row.entry.hidden_size,
                    "runs": row.runs,
                    "mean": score and score.mean,
                    "sd": score and score.sd,
                    "low": score and score.low,
                    "high": score and score.high,
                    "difference": difference and difference.mean,
                    "difference_low": difference and difference.low,
                    "difference_high": difference and difference.high,
                    "p": difference and difference.p,
                    "status": row.status,
                    "test_mean": test and test.mean,
                    "test_sd": test and test.sd,
                    "parameters": round(row.median("parameters")) if timed else None,
                    "recurrent_parameters": round(row.median("recurrent_parameters")) if timed else None,
                    "train_seconds": row.median("train_seconds") if timed else None,
                    "predict_seconds_per_1000": row.median("predict_seconds") if timed else None,
                }
            )
        for b in self.baselines:
            records.append(
                {
                    "arrangement": b.name,
                    "runs": len(b.runs),
                    "mean": b.score,
                    "status": "baseline",
                    "test_mean": b.test,
                    "train_seconds": b.seconds,
                    "predict_seconds_per_1000": b.predict_seconds,
                }
            )
        return pl.DataFrame(records, infer_schema_length=None)

    @property
    def runs(self) -> pl.DataFrame:
        """A row for each run, with every metric on both parts."""
        records = []
        for run in [e.runs[place] for e in self.entries for place in sorted(e.runs)] + self.baseline_runs:
            record = {
                name: getattr(run, name)
                for name in ("name", "repeat", "fold", "seed", "hidden_size", "error")
            }
            for part, metrics in (("validation", run.validation), ("test", run.test or {})):
                record |= {f"{part}_{name}": metrics.get(name) for name in self.problem.metrics}
            for name in ("parameters", "train_seconds", "predict_seconds", "best_epoch"):
                record[name] = getattr(run, name)
            records.append(record)
        return pl.DataFrame(records, infer_schema_length=None)

    # --- the winner

    @property
    def winner(self) -> Run | None:
        """The run of the best arrangement with the best validation score: with one validation part, `model`."""
        if not self.racing:
            return None
        entry = self.racing[0]
        place = int((self.sign * entry.scores(self.metric, self.places)).argmax())
        return entry.runs[self.places[place]]

    @cached_property
    def model(self) -> Any:
        """The winner, fitted. With one validation part its best run (`winner`), trained once more, which gives the
        same weights; after a cross-validation the best arrangement, trained on all rows with the first seed.

        Raises `DataError` where no arrangement has a score.
        """
        if not self.racing:
            raise DataError("No arrangement has a score, so there is no model. See the errors of its runs.")
        entry, problem = self.racing[0], self.problem
        seed = problem.seed(0) if self.winner is None or problem.cv else self.winner.seed
        with one_thread():
            model = train(
                problem, entry.arrangement, entry.hidden_size, seed, problem.train, problem.validation
            )
        return problem.finished(model)

    def model_metrics(self) -> Metrics | None:
        """`model` on the test part; None without one."""
        return None if self.problem.test is None else self.problem.measure(self.model, self.problem.test)


def _choice(arrangement: Arrangement) -> dict[str, str | None]:
    return {} if arrangement.parameter is None else {arrangement.parameter: arrangement.choice}


def mean_of(metrics: Sequence[Metrics | None], name: str) -> float | None:
    """The mean of one metric; None where any is missing."""
    values = [None if m is None else m[name] for m in metrics]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if values and len(known) == len(values) else None


def resolution(problem: Problem, metric: str) -> float:
    """The step in which the metric of a run moves; 0 for one that is not a share of rows."""
    return 1 / problem.validation_rows() if metric in SHARES else 0.0


def dropped_after(entries: list[Entry], problem: Problem, metric: str) -> list[Entry]:
    """Those of `entries`, which have the same runs, that are not worth repeating."""
    if len(entries) < 2:
        return []
    cells = sorted(entries[0].runs)
    scores = np.stack([e.scores(metric, cells) for e in entries]) * (1 if METRICS[metric][1] else -1)
    return [entries[i] for i in hopeless(scores, problem.ratio, resolution(problem, metric))]
