"""`unspool.tune`: settings searched for, and held against the default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unspool.cluster import check_ready
from unspool.errors import bad_parameter, check_int
from unspool.estimators import SequenceEstimator
from unspool.parameters import check_effort
from unspool.training import device
from unspool.tuning.problem import given_part, make_problem
from unspool.tuning.progress import TuningProgress
from unspool.tuning.result import Tried, Tuning
from unspool.tuning.search import Budget, Search
from unspool.tuning.space import Given, choose, standing
from unspool.tuning.storage import opened, optuna
from unspool.tuning.trials import Outcome
from unspool.tuning.workers import side_by_side


def tune(
    X: Any,
    y: Any,
    *,
    estimator: SequenceEstimator,
    space: Given | None = None,
    keep: Sequence[str] = (),
    metric: str | None = None,
    budget_seconds: float | None = None,
    trials: int | None = None,
    repeats: int = 5,
    validation: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    out: str | os.PathLike[str] | None = None,
    random_state: int = 0,
    verbose: int = 1,
) -> Tuning:
    """Search for settings that are better than those of `estimator`, and tell whether they are.

    The estimator as given, the default, is trained first. Then trials draw settings (tree-structured Parzen estimators,
    Bergstra et al. 2011), all on the same training and validation rows; one whose validation loss after some epoch is
    worse than the median of the complete ones there is given up. The best trial and the default are then trained
    `repeats` times from other seeds, with validation parts drawn anew, and the best is kept only where it is better
    than the default beyond the noise of these repeats. Both are at last trained as `fit` does it.

    X, y : as in `fit` of the estimator; y (n,), or (n, K).
    estimator : an unfitted `SequenceRegressor` or `SequenceClassifier`.
    space : what is varied: names of parameters, or a dict from name to None (where the parameter table says), a list of
        choices, or a pair (low, high). None: all that docs/tuning.md lists for such X, but for what `estimator` has not
        at its default.
    keep : names of parameters that are not varied with space=None, though they are at their default.
    metric : what is to be best, on the validation part; as in `unspool.study.compare`.
    budget_seconds : of the search, the repeats (two at least) and both last fits; over all calls with this `out`. Half
        of it at least is the search's. trials : how many are tried beside the default. One of the two is needed.
    validation : (X, y); None: `estimator.validation_fraction` of the rows, drawn. The repeats draw theirs from the
        training and validation rows together, as many.
    test : (X, y). Only reported, once, of the kept settings and the default.
    jobs : trials at a time, one thread each; None: one a core.
    cluster : trials as tasks of a Ray cluster; as of `unspool.study.compare`.
    out : a folder for the study. A call with the same data and settings goes on where the last one ended, however it
        did. None: nothing is kept.
    random_state : of the parts, the trainings and the draws. verbose : 0 silent, 1 a line a trial.

    Ctrl-C ends the search; the result then holds what was finished (`interrupted`).

    Raises `DataError`, `InvalidParameterError`, `UnspoolError` where the default cannot be trained or optuna is not
    installed or the cluster does not answer, and `ModelFileError` where `out` holds another search.
    """
    optuna()
    if not isinstance(estimator, SequenceEstimator):
        bad_parameter("tune", "estimator", "a SequenceRegressor or SequenceClassifier", estimator)
    check_int("tune", "random_state", random_state, 0)
    check_int("tune", "verbose", verbose, 0)
    effort = {"budget_seconds": budget_seconds, "trials": trials, "repeats": repeats, "jobs": jobs}
    check_effort("tune", effort)
    if budget_seconds is None and trials is None:
        bad_parameter("tune", "budget_seconds", "a number of seconds, or trials a number of trials", None)
    if cluster is None:
        device.choose(type(estimator).__name__, estimator.device)
    else:
        check_ready(cluster)
    problem = make_problem(X, y, estimator, metric, validation, random_state)
    axes = choose(problem.estimator, problem.kind, space, keep)
    tested = None if test is None else given_part("test", test, problem.estimator, problem.kind)
    stands = standing(problem.estimator, problem.kind, len(problem.training), problem.data.task.has_classes)
    place = {name: label for axis in axes for name, label in axis.drawn(stands[axis.name]).items()}
    folder = None if out is None else Path(out).expanduser()
    progress = TuningProgress(problem.metric, verbose)
    if jobs is not None and trials is not None and cluster is None:
        jobs = min(jobs, max(trials, 2 * repeats))  # more processes would have nothing to do
    with opened(folder, problem.facts(axes)) as study, progress:
        budget = Budget(budget_seconds, trials, study.user_attrs.get("spent", 0.0))
        search = Search(problem, axes, place, study, budget, repeats, progress)
        interrupted = False
        try:
            with side_by_side(problem, jobs, cluster, progress.say) as runner:
                search.run(runner)
        except KeyboardInterrupt:
            if search.default is None:
                raise
            interrupted = True
        assert search.default is not None
        looked = study.user_attrs.get("looked", [])
        result = Tuning(
            problem=problem,
            axes=axes,
            default=search.default,
            trials=_trials(search),
            chosen=_chosen(search),
            repeats=search.repeated(),
            seconds=budget.elapsed,
            data=(X, y, validation),
            tested=tested,
            verbose=verbose,
            interrupted=interrupted,
            looked=looked,
        )
        if tested is not None and not interrupted:
            number = None if result.chosen is None else result.chosen.number
            study.set_user_attr("looked", list(dict.fromkeys([*looked, number])))
        return result


def _trials(search: Search) -> list[Tried]:
    """All that ended, in their order."""
    found = []
    for t in search.study.get_trials(deepcopy=False):
        if "state" in t.user_attrs:
            curve = [-t.intermediate_values[step] for step in sorted(t.intermediate_values)]
            default = "default" in t.user_attrs
            found.append(
                Tried(t.number, search.settings(t.params), Outcome.read(t.user_attrs, curve), default)
            )
    return found


def _chosen(search: Search) -> Tried | None:
    best = search.best()
    return None if best is None else next(t for t in _trials(search) if t.number == best.number)
