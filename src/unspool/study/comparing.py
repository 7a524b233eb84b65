"""Which cell, pooling and layout for these data: repeated, paired runs of each, within a budget."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unspool import cells as cells_by_name
from unspool.cluster import ClusterWorkers, check_ready
from unspool.errors import check_int
from unspool.parameters import check_effort
from unspool.study.arrangements import CELLS
from unspool.study.comparison import Comparison
from unspool.study.jobs import perform_apart
from unspool.study.kinds import make_problem, problem_class
from unspool.study.problem import chosen_metric
from unspool.study.progress import StudyProgress
from unspool.study.rounds import Budget, Loop, Plan
from unspool.study.store import Store
from unspool.study.workers import Workers
from unspool.training.device import choose


def compare(
    X: Any,
    y: Any = None,
    *,
    labels: Any = None,
    estimator: Any = None,
    cells: Sequence[str] = CELLS,
    poolings: Sequence[str] | None = None,
    layouts: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    attentions: Sequence[str] | None = None,
    arrangements: str | Sequence[str] | None = None,
    metric: str | None = None,
    repeats: int = 5,
    cv: int | None = None,
    validation: Any = None,
    test: Any = None,
    equal_parameters: bool = False,
    drop_hopeless: bool = True,
    baselines: bool = True,
    budget_seconds: float | None = None,
    budget_runs: int | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    out: str | os.PathLike[str] | None = None,
    random_state: int = 0,
    verbose: int = 1,
) -> Comparison:
    """Train every arrangement `repeats` times from the same seeds, and compare them on the validation part.

    X, y, labels : as in `fit` of the estimators; y is None for `Forecaster` and `SequenceGenerator`, labels are of
        `SequenceTagger` alone.
    estimator : an unfitted estimator of any kind that carries all other settings (epochs, hidden_size, ...); its cell,
        layers, direction and random_state are set by the study, and its pooling (`SequenceRegressor`,
        `SequenceClassifier`), model (`Forecaster`) or attention (`Seq2Seq`). None: a regressor where y has several
        columns, fractions, or numbers of more than 10 values, else a classifier.
    cells, poolings, models, attentions, layouts : every combination is run, of those that the kind of estimator has.
        cells: `unspool.cells.names()`; poolings: `unspool.heads.Pooling`; layouts: "one", "stacked" (two layers), and
        where the model can read both ways "bidirectional", "stacked-bidirectional". None: four poolings, all models
        and attentions, the first two or three layouts.
    arrangements : instead of these, a list of names such as "lstm/last/stacked" ("lstm/stacked" for taggers and
        generators), or, where there is a pooling, "twelve": {lstm, gru} x {last, max} x {one, stacked, bidirectional}.
    metric : ranks the arrangements; one of "r2" (default), "rmse", "mae", "pearson_r" for numbers, "accuracy"
        (default), "macro_f1", "log_loss" for classes, and what docs/study.md lists for other kinds. All are reported;
        of several targets their means.
    repeats : runs of each arrangement; repeat r has seed `random_state` + r in every arrangement.
    cv : None: one validation part. k: each repeat is a cross-validation in k folds of its own, so k runs; the
        estimator's early stopping then holds back a part of the training folds.
    validation : (X, y), of taggers with labels (X, y, labels), of generators texts; None:
        `estimator.validation_fraction` of the rows, drawn. It ranks the arrangements, and also stops each training
        early. Of a `Forecaster` the number of horizons at the end of each series, before those of the test, that rank
        the arrangements (None: 1); each training holds back steps of its own before them.
    test : a part as validation, a share of the rows to draw, or None; of a `Forecaster` a number of last horizons. Only
        reported: nothing is chosen by it.
    equal_parameters : choose the hidden size of each arrangement so that its recurrent layers have about as many
        parameters as those of `estimator` as given.
    drop_hopeless : from the second repeat on, do not repeat an arrangement that is clearly below the best
        (`unspool.study.statistics.hopeless`).
    baselines : also what `unspool fit` sets beside such a model: the mean or majority and for texts TF-IDF with a
        linear model, n-grams, naive forecasts, ... (of the first repeat).
    budget_seconds : no run starts that would end later than this after the call, by the time of earlier runs;
        those going on are finished. Every arrangement has its first run before any has its second.
    budget_runs : so many runs at most, in this call.
    jobs : runs at a time, one thread each; None: one a core. The numbers do not depend on it.
    cluster : runs as tasks of a Ray cluster (extra `cluster`; docs/cluster.md): "auto": the one of this machine;
        "local": one that is started here, with `jobs` processors; "HOST:PORT": of its head. jobs is then None for as
        many as the cluster has processors. A lost node costs time alone.
    out : a folder for the finished runs, tables, report and the model. A call with the same data and settings
        goes on where the last one ended, also with more arrangements or repeats.
    verbose : 0 silent, 1 a line a run.

    Ctrl-C ends the study; the result then holds what was finished (`interrupted`).

    Raises `DataError`, `InvalidParameterError`, `ModelFileError` where `out` holds another study or another process
    goes on with it (study.lock is there meanwhile), and `UnspoolError` where Ray is not installed or the cluster does
    not answer.
    """
    started = time.monotonic()
    effort = {"budget_seconds": budget_seconds, "budget_runs": budget_runs, "repeats": repeats, "jobs": jobs}
    check_effort("compare", effort)
    varied = {"pooling": poolings, "model": models, "attention": attentions}
    chosen = problem_class(estimator).grid.choose(arrangements, cells, varied, layouts)
    problem = make_problem(X, y, estimator, cv, validation, test, random_state, labels)
    metric = chosen_metric(problem, metric)
    check_int("compare", "verbose", verbose, 0)
    if cluster is None:
        choose(type(problem.estimator).__name__, getattr(problem.estimator, "device", "cpu"))
    else:
        check_ready(cluster)
    plan = Plan(problem, problem.sizes(chosen, equal_parameters), metric, repeats, drop_hopeless, baselines)
    store = Store(out, problem.describe())
    names = {a.cell for a in chosen}
    budget = Budget(started, budget_seconds, budget_runs, reserve=out is not None)
    with store.alone(), StudyProgress(metric, problem.folds, verbose) as progress:
        loop = Loop(plan, store, budget, progress)
        try:
            context = problem, {name: cells_by_name.get(name) for name in names}
            workers: Workers | ClusterWorkers
            if cluster is None:
                side_by_side = min(jobs or usable_cores(), plan.largest_round())
                workers = Workers(perform_apart, context, side_by_side, "study")
            else:
                workers = ClusterWorkers(perform_apart, context, cluster, jobs, usable_cores(), progress.say)
            with workers:
                loop.run(workers)
        except KeyboardInterrupt:
            loop.ended = "interrupted"
        result = loop.result()
        if out is not None:
            result.write(Path(out).expanduser(), progress.say)
    return result


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
