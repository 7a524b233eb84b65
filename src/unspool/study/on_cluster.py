"""Runs side by side on a Ray cluster: one task each, of one processor and one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unspool import cells
from unspool.study import jobs
from unspool.study.jobs import Job, Run
from unspool.study.problem import Problem


def perform(context: tuple[Problem, dict[str, Callable[..., Any]]], task: Job) -> list[Run]:
    """On a node: `unspool.study.jobs.perform`, with the cells that the study names."""
    problem, factories = context
    for name, factory in factories.items():
        cells.registry.setdefault(name, factory)
    with jobs.one_thread():
        return jobs.perform(problem, task)
