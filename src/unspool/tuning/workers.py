"""Trials side by side: on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from unspool import cells
from unspool.cluster import ClusterWorkers
from unspool.study.comparing import usable_cores
from unspool.study.jobs import apart
from unspool.study.workers import Runner, Workers
from unspool.tuning.problem import Problem
from unspool.tuning.trials import Outcome, Trial, perform


def side_by_side(
    problem: Problem, jobs: int | None, cluster: str | None, say: Callable[[str], None]
) -> AbstractContextManager[Runner]:
    """A runner on this machine, with None for `jobs` of one trial a core, or on the cluster at that address, of which
    `say` tells; left by an exception it stops the trials that are going on."""
    context = problem, {name: cells.get(name) for name in cells.names()}
    if cluster is not None:
        return ClusterWorkers(perform_apart, context, cluster, jobs, usable_cores(), say)
    return Workers(perform_apart, context, usable_cores() if jobs is None else jobs, "search")


def perform_apart(context: tuple[Problem, Mapping[str, Callable[..., Any]]], trial: Trial) -> Outcome:
    """`perform`, `apart` with all cells that are known where the search is driven."""
    problem, factories = context
    with apart(factories):
        return perform(problem, trial)
