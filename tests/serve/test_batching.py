"""Requests joined: how long they wait, who gets what, and how much may wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from unspool.serve.batching import Batcher
from unspool.serve.errors import RequestError


def batcher(run, size: int = 8, delay: float = 0.0, queue: int = 100) -> Batcher[int, int]:
    return Batcher("test", run, lambda item: item, size=size, delay=delay, queue=queue)


def test_what_comes_together_is_run_together_and_each_gets_its_own() -> None:
    batches: list[list[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        return [10 * item for item in items]

    async def scenario() -> list[int]:
        work = batcher(run, size=10, delay=60.0)
        found = await asyncio.gather(*(work.submit(k) for k in (1, 2, 3, 4)))
        await work.close()
        return found

    started = time.monotonic()
    assert asyncio.run(scenario()) == [10, 20, 30, 40]
    assert batches == [[1, 2, 3, 4]] and time.monotonic() - started < 50  # full: it did not wait for more


def test_one_alone_waits_for_the_delay_and_no_longer() -> None:
    async def scenario() -> float:
        work = batcher(lambda items: items, delay=0.05)
        started = time.monotonic()
        await work.submit(1)
        waited = time.monotonic() - started
        await work.close()
        return waited

    assert 0.045 < asyncio.run(scenario()) < 0.5


def test_while_one_batch_runs_the_next_one_gathers() -> None:
    batches: list[list[int]] = []
    go = threading.Event()

    def run(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        go.wait(10)
        return items

    async def scenario() -> None:
        work = batcher(run, size=4)
        tasks = [asyncio.create_task(work.submit(1))]
        while not batches:
            await asyncio.sleep(0)
        tasks += [asyncio.create_task(work.submit(k)) for k in (1, 1, 2, 3, 9, 1)]
        await asyncio.sleep(0)
        assert work.rows == 17
        go.set()
        await asyncio.gather(*tasks)
        await work.close()

    asyncio.run(scenario())
    assert batches == [[1], [1, 1, 2], [3], [9], [1]]  # at most 4 together, one that is larger alone


def test_the_event_loop_goes_on_while_a_batch_runs() -> None:
    go = threading.Event()

    def run(items: Sequence[int]) -> Sequence[int]:
        assert go.wait(10)
        return items

    async def scenario() -> None:
        work = batcher(run)
        task = asyncio.create_task(work.submit(1))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not task.done()
        go.set()
        assert await task == 1
        await work.close()

    asyncio.run(scenario())


def test_a_broken_one_beside_good_ones() -> None:
    runs: list[list[int]] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        runs.append(list(items))
        if 7 in items:
            raise ValueError("seven")
        return items

    async def scenario() -> list[object]:
        work = batcher(run, size=100, delay=0.05)
        found = await asyncio.gather(*(work.submit(k) for k in (1, 7, 2)), return_exceptions=True)
        await work.close()
        return found

    good, bad, other = asyncio.run(scenario())
    assert (good, other) == (1, 2) and isinstance(bad, ValueError)
    assert runs == [[1, 7, 2], [1], [7], [2]]


def test_an_error_that_may_have_changed_something_is_not_tried_again() -> None:
    runs: list[list[int]] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        runs.append(list(items))
        raise RuntimeError("half done")

    async def scenario() -> list[object]:
        work = Batcher("test", run, lambda _: 1, size=9, delay=0.05, queue=9, retry=ValueError)
        found = await asyncio.gather(*(work.submit(k) for k in (1, 2)), return_exceptions=True)
        await work.close()
        return found

    assert [str(error) for error in asyncio.run(scenario())] == ["half done", "half done"]
    assert runs == [[1, 2]]


def test_no_more_waits_than_may() -> None:
    async def scenario() -> None:
        work = batcher(lambda items: items, size=100, delay=0.05, queue=5)
        tasks = [asyncio.create_task(work.submit(k)) for k in (3, 2)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="5 sequences wait already; 5 may") as refused:
            await work.submit(1)
        assert refused.value.status == 429
        assert await asyncio.gather(*tasks) == [3, 2]
        assert await work.submit(4) == 4
        await work.close()

    asyncio.run(scenario())


def test_one_whose_client_has_gone_is_not_run() -> None:
    batches: list[list[int]] = []

    async def scenario() -> None:
        work = batcher(lambda items: batches.append(list(items)) or items, size=100, delay=0.05)
        tasks = [asyncio.create_task(work.submit(k)) for k in (1, 2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await tasks[1] == 2
        assert work.rows == 0
        await work.close()

    asyncio.run(scenario())
    assert batches == [[2]]


def test_closing_answers_what_was_taken_and_takes_no_more() -> None:
    async def scenario() -> None:
        work = batcher(lambda items: items, delay=60.0)
        task = asyncio.create_task(work.submit(1))
        await asyncio.sleep(0)
        await work.close()
        assert await task == 1
        with pytest.raises(RequestError, match="stopping") as refused:
            await work.submit(1)
        assert refused.value.status == 503

    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 50
