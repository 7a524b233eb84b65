"""Requests that come together are computed together, in one thread beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from unspool.serve.errors import RequestError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Joins what is submitted and runs it in a thread of its own.

    A request waits `delay` seconds at most while the thread is idle, and otherwise until the batches before it are
    done: those of `queue` sequences at most, `size` in each. A batch that fails by an error of `retry`, with which
    nothing has changed, is run again request by request, so that the error reaches the one that caused it.

    run(items) -> an answer for each, called in the thread. count(item): its sequences. seen(sequences): told of each
    batch.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Item]], Sequence[Answer]],
        count: Callable[[Item], int],
        *,
        size: int,
        delay: float,
        queue: int,
        retry: type[Exception] = Exception,
        seen: Callable[[int], Any] = lambda _: None,
    ) -> None:
        self.run, self.count, self.retry, self.seen = run, count, retry, seen
        self.size, self.delay, self.queue = size, delay, queue
        self.waiting: deque[tuple[Item, asyncio.Future[Answer], float]] = deque()
        self.rows = 0  # that wait
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"unspool-{name}")
        self._more = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The answer. Raises `RequestError` 429 where too much waits already, 503 where the server stops, or what the
        request itself was refused with."""
        rows = self.count(item)
        if self._closing:
            raise RequestError(503, "The server is stopping.")
        if self.rows + rows > self.queue and self.waiting:
            raise RequestError(
                429, f"{self.rows:,} sequences wait already; {self.queue:,} may. Try again later."
            )
        if self._task is None:
            self._task = asyncio.create_task(self._loop())
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future, time.monotonic()))
        self.rows += rows
        self._more.set()
        return await future

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(*arguments) in the thread, between batches."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    def hurry(self) -> None:
        """Wait for no others from now on."""
        self.delay = 0.0
        self._more.set()

    async def close(self) -> None:
        """Answer what was taken, then end the thread."""
        self._closing = True
        self._more.set()
        if self._task is not None:
            await self._task
        self.thread.shutdown(wait=False)

    async def _loop(self) -> None:
        while self.waiting or not self._closing:
            if not self.waiting:
                self._more.clear()
                await self._more.wait()
                continue
            await self._gather()
            batch = self._take()
            if batch:
                self.seen(sum(self.count(item) for item, _ in batch))
                results = await self.call(self._answers, [item for item, _ in batch])
                for (_, future), (answer, error) in zip(batch, results):
                    if future.done():  # the client has gone
                        continue
                    if error is not None:
                        future.set_exception(error)
                    else:
                        future.set_result(answer)

    async def _gather(self) -> None:
        """Wait for more until the first has waited for `delay`, or a batch is full."""
        while not self._closing and 0 < self.rows < self.size and self.waiting:
            left = self.waiting[0][2] + self.delay - time.monotonic()
            if left <= 0:
                return
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), left)
            except asyncio.TimeoutError:
                return

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """The first ones, without those whose client has gone; one at least, however large."""
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        rows = 0
        while self.waiting:
            item, future, _ = self.waiting[0]
            count = self.count(item)
            if batch and rows + count > self.size:
                break
            self.waiting.popleft()
            self.rows -= count
            if not future.done():
                batch.append((item, future))
                rows += count
        return batch

    def _answers(self, items: list[Item]) -> list[tuple[Any, Exception | None]]:
        try:
            return [(answer, None) for answer in self.run(items)]
        except Exception as error:
            if len(items) == 1 or not isinstance(error, self.retry):
                return [(None, error) for _ in items]
        return [one for item in items for one in self._answers([item])]
