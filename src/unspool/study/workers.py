"""Work side by side on this machine: in this process, or in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, Protocol

import torch

from unspool.errors import UnspoolError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Runner(Protocol):
    """What runs items, wherever: `jobs` at a time."""

    @property
    def jobs(self) -> int:
        """Items at a time, now."""

    def run(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """(item, result) as they come. The next item is taken when a place is free, so that it can be drawn by what the
        others gave, and `items` may end by the clock."""


class Workers:
    """`function(context, item)` for many items, `jobs` at a time.

    1: in this process. More: processes started afresh, each told the context once. work: its name, for the error where
    a process is lost. A context manager; left by an exception, it stops what is going on.
    """

    def __init__(self, function: Callable[[Any, Any], Any], context: Any, jobs: int, work: str) -> None:
        self.function, self.context, self.jobs, self.work, self.pool = function, context, jobs, work, None

    def __enter__(self) -> Workers:
        if self.jobs > 1:
            # loky: unlike multiprocessing's spawn it does not import the
            # caller's script again, and it carries cells that are defined there.
            from loky import ProcessPoolExecutor

            start = (self.function, self.context, os.getpid())
            env = dict.fromkeys(THREADS, "1")
            self.pool = ProcessPoolExecutor(self.jobs, initializer=_start, initargs=start, env=env)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=kind is None, kill_workers=kind is not None)

    def run(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Runner`."""
        if self.pool is None:
            for item in items:
                yield item, self.function(self.context, item)
            return
        pending: dict[Any, Any] = {}
        while True:
            while len(pending) < self.jobs and (item := next(items, None)) is not None:
                pending[self.pool.submit(_call, item)] = item
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), self._result(future)

    def _result(self, future: Any) -> Any:
        from loky.process_executor import BrokenProcessPool

        try:
            return future.result()
        except BrokenProcessPool as error:
            raise UnspoolError(
                f"A process of the {self.work} was killed. Often it ran out of memory: use fewer jobs, or smaller "
                f"models. What was finished is kept where the {self.work} has a folder."
            ) from error


_told: tuple[Callable[[Any, Any], Any], Any] | None = None


def _start(function: Callable[[Any, Any], Any], context: Any, parent: int) -> None:
    """In a new process: Ctrl-C is the parent's affair, one thread, and an end with the parent's, were it killed."""
    global _told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _told = function, context
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _call(item: Any) -> Any:
    assert _told is not None
    function, context = _told
    return function(context, item)
