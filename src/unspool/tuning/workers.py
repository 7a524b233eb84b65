"""Trials side by side: in this process, or one thread each in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from unspool import cells
from unspool.cluster import ClusterWorkers
from unspool.errors import UnspoolError
from unspool.study.comparing import usable_cores
from unspool.study.jobs import one_thread
from unspool.tuning.problem import Problem
from unspool.tuning.trials import Outcome, Trial, perform

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Runner(Protocol):
    """What runs trials, wherever: `jobs` at a time, each told all it needs by the problem and itself."""

    @property
    def jobs(self) -> int:
        """Trials at a time."""

    def run(self, trials: Iterator[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Each with its outcome, as they end. The next one is taken when a place is free, so that it can be drawn by
        what the others gave, and `trials` may end by the clock."""


def side_by_side(
    problem: Problem, jobs: int | None, cluster: str | None, say: Callable[[str], None]
) -> AbstractContextManager[Runner]:
    """A runner on this machine, with None for `jobs` of one trial a core, or on the cluster at that address, of which
    `say` tells; left by an exception it stops the trials that are going on."""
    if cluster is not None:
        return ClusterWorkers(on_cluster, (problem, _cells()), cluster, jobs, usable_cores(), say)
    jobs = usable_cores() if jobs is None else jobs
    return Here(problem) if jobs == 1 else Processes(problem, jobs)


def _cells() -> dict[str, Callable[..., Any]]:
    return {name: cells.get(name) for name in cells.names()}


def on_cluster(context: tuple[Problem, dict[str, Callable[..., Any]]], trial: Trial) -> Outcome:
    """On a node of a cluster: `perform`, with all cells that are known where the search is driven."""
    problem, own = context
    for name, factory in own.items():
        cells.registry.setdefault(name, factory)
    with one_thread():
        return perform(problem, trial)


class Here:
    """One after the other, in this process."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.jobs = problem, 1

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: Any) -> None:
        return

    def run(self, trials: Iterator[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """See `Runner`."""
        for trial in trials:
            with one_thread():
                outcome = perform(self.problem, trial)
            yield trial, outcome


class Processes:
    """`jobs` processes started afresh, each told the problem once."""

    def __init__(self, problem: Problem, jobs: int) -> None:
        self.problem, self.jobs = problem, jobs

    def __enter__(self) -> Processes:
        from loky import ProcessPoolExecutor

        start = (self.problem, _cells(), os.getpid())
        self.pool = ProcessPoolExecutor(
            self.jobs, initializer=_start, initargs=start, env=dict.fromkeys(THREADS, "1")
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.pool.shutdown(wait=kind is None, kill_workers=kind is not None)

    def run(self, trials: Iterator[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """See `Runner`."""
        from loky.process_executor import BrokenProcessPool

        pending: dict[Any, Trial] = {}
        while True:
            while len(pending) < self.jobs and (trial := next(trials, None)) is not None:
                pending[self.pool.submit(_perform, trial)] = trial
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                try:
                    outcome = future.result()
                except BrokenProcessPool as error:
                    raise UnspoolError(
                        "A process of the search was killed. Often it ran out of memory: use fewer jobs, or smaller "
                        "models. Finished trials are kept where the search has a folder."
                    ) from error
                yield pending.pop(future), outcome


_problem: Problem | None = None


def _start(problem: Problem, own: dict[str, Callable[..., Any]], parent: int) -> None:
    """In a new process: Ctrl-C is the parent's affair, one thread, the cells by their names, and an end with the
    parent's, were it killed."""
    global _problem
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    for name, factory in own.items():
        cells.registry.setdefault(name, factory)
    _problem = problem
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _perform(trial: Trial) -> Outcome:
    assert _problem is not None
    return perform(_problem, trial)
