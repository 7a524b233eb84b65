"""Runs side by side on a Ray cluster: one task each, of one processor and one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from unspool import cells
from unspool.cluster import Pool, connected
from unspool.study import jobs
from unspool.study.jobs import Job, Run
from unspool.study.problem import Problem


class ClusterWorkers:
    """`Workers` on the cluster at `address` (see `unspool.cluster.connected`); "local" has `cores` processors.

    limit: runs at a time; None: one a processor of the cluster. say: is given a line of the nodes, and at the end one
    of where the runs were. A context manager; left by an exception, it cancels the runs that are going on.
    """

    def __init__(
        self,
        problem: Problem,
        address: str,
        limit: int | None,
        cores: int | None,
        names: Iterable[str],
        say: Callable[[str], None],
    ) -> None:
        self.context = problem, {name: cells.get(name) for name in names}
        self.address, self.limit, self.cores, self.say = address, limit, cores, say
        self.stack = ExitStack()

    def __enter__(self) -> ClusterWorkers:
        with ExitStack() as stack:
            cluster = stack.enter_context(connected(self.address, self.cores))
            self.pool = Pool(cluster, _perform, self.context, self.limit)
            self.say(str(cluster))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with self.stack:
            self.pool.cancel()
            if summary := str(self.pool.tally):
                self.say(summary)

    @property
    def jobs(self) -> int:
        """Runs at a time, now."""
        return self.pool.jobs

    def run(self, tasks: Iterator[Job]) -> Iterator[tuple[Job, list[Run]]]:
        """Results as they come; see `Workers.run`."""
        return self.pool.run(tasks)


def _perform(context: tuple[Problem, dict[str, Callable[..., Any]]], task: Job) -> list[Run]:
    problem, factories = context
    for name, factory in factories.items():
        cells.registry.setdefault(name, factory)
    with jobs.one_thread():
        return jobs.perform(problem, task)
