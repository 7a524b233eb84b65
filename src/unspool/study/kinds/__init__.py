"""The kinds of estimators that a study compares arrangements of: a file and a line of `PROBLEMS` each."""

from __future__ import annotations

import importlib
from typing import Any

from unspool.errors import bad_parameter, check_int
from unspool.parameters import check_parameters
from unspool.study.problem import Asked, Problem

#: Estimator's class -> "module:class" of its problem, whose `make(X, y, labels, estimator, asked)` reads the data.
PROBLEMS = {
    "SequenceRegressor": "unspool.study.kinds.targets:TargetProblem",
    "SequenceClassifier": "unspool.study.kinds.targets:TargetProblem",
    "SequenceTagger": "unspool.study.kinds.tagging:TaggingProblem",
    "Forecaster": "unspool.study.kinds.forecasting:ForecastProblem",
    "SequenceGenerator": "unspool.study.kinds.generation:TextProblem",
    "Seq2Seq": "unspool.study.kinds.seq2seq:PairProblem",
}


def problem_class(estimator: Any) -> type[Problem]:
    """Of an estimator; None: that of regressors and classifiers. `InvalidParameterError` for anything else."""
    if estimator is None:
        return _class("SequenceClassifier")
    for cls in type(estimator).__mro__:
        if cls.__name__ in PROBLEMS and cls.__module__.startswith("unspool."):
            return _class(cls.__name__)
    bad_parameter("compare", "estimator", f"one of unspool's estimators: {', '.join(PROBLEMS)}", estimator)


def make_problem(
    X: Any,
    y: Any,
    estimator: Any,
    cv: int | None,
    validation: Any,
    test: Any,
    random_state: int,
    labels: Any = None,
) -> Problem:
    """Check and split; see `unspool.study.compare`."""
    asked = Asked(cv, validation, test, check_int("compare", "random_state", random_state, 0))
    return problem_class(estimator).make(X, y, labels, estimator, asked)


def refuse(name: str, value: Any, estimator: Any) -> None:
    """`InvalidParameterError` where an argument is given that this kind of estimator has no use for."""
    if value is not None:
        bad_parameter("compare", name, f"None for {type(estimator).__name__}", type(value).__name__)


def checked(estimator: Any, of: Any) -> None:
    """`InvalidParameterError` for a parameter of the estimator outside its range. of: its table."""
    check_parameters(type(estimator).__name__, estimator.get_params(deep=False), of)


def _class(name: str) -> type[Problem]:
    module, cls = PROBLEMS[name].split(":")
    return getattr(importlib.import_module(module), cls)
