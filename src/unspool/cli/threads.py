"""Work that threads share, its results in order, and what each thread was warned of."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from unspool.errors import RowsWarning


class _Heard(threading.local):
    """What was warned of in this thread."""

    def __init__(self) -> None:
        self.warnings: list[Warning] = []

    def taken(self, rows: int) -> list[str]:
        """All of it, once; of parts of `rows` rows, those that say the same of some of them as one."""
        found: dict[str, int] = {}
        for warning in self.warnings:
            text, count = str(warning), 0
            if isinstance(warning, RowsWarning):
                text, count = f"of {rows} {warning.what}", warning.count
            found[text] = found.get(text, 0) + count
        self.warnings = []
        return [f"{count} {text}" if count else text for text, count in found.items()]


HEARD = _Heard()


@contextmanager
def heard() -> Iterator[None]:
    """Within, warnings of every thread are kept in its `HEARD`. Python's own `record` mixes threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: HEARD.warnings.append(message)
        yield


def in_order(work: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """work(item) of each, in the order of the items, `threads` at a time; each has its share of torch's threads.

    No more items are taken than can be begun, and one.
    """
    if threads < 2:
        yield from map(work, items)
        return
    before = torch.get_num_threads()
    waiting: deque[Future[Any]] = deque()
    share = max(1, before // threads)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(work, item))
                    if len(waiting) > threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(before)
