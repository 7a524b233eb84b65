"""Streams that nobody uses are forgotten, by a clock that the test turns."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits
from unspool.serve.metrics import Metrics
from unspool.serve.protocol import InferRequest
from unspool.serve.repository import Repository
from unspool.serve.sessions import Sessions


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(models, **limits) -> tuple[Sessions, Clock, Repository]:
    clock, found = Clock(), Limits(**limits)
    repository = Repository({"score": models["score"]}, "float32", found, Metrics())
    return Sessions(repository, found, repository.metrics, clock), clock, repository


async def step(sessions: Sessions, key: int, start: bool = False) -> None:
    asked = InferRequest({"text": np.array(["good "], dtype=object)}, sequence=key, start=start)
    await sessions.step(sessions.repository.get("score"), asked)


def test_the_longest_unused_ones_go_first(models) -> None:
    async def scenario() -> None:
        sessions, clock, repository = made(models, idle=100.0)
        for key in (1, 2, 3):
            clock.now = 10.0 * key
            await step(sessions, key, start=True)
        clock.now = 50.0
        await step(sessions, 1)
        clock.now = 119.9
        await sessions.expire()
        assert sessions.count == 3
        clock.now = 120.0
        await sessions.expire()
        assert sessions.count == 2  # 2, last used at 20
        with pytest.raises(RequestError, match="no open stream 2") as refused:
            await step(sessions, 2)
        assert refused.value.status == 409
        clock.now = 149.0
        await step(sessions, 1)
        clock.now = 200.0
        await sessions.expire()
        assert sessions.count == 1
        assert len(sessions.repository.get("score").streams.pool) == 1
        await repository.close()

    asyncio.run(scenario())


def test_hours_between_two_steps(models) -> None:
    async def scenario() -> None:
        sessions, clock, repository = made(models)
        await step(sessions, 1, start=True)
        clock.now += 5.9 * 3600
        await sessions.expire()
        await step(sessions, 1)
        await repository.close()

    asyncio.run(scenario())


def test_the_reaper_sleeps(models) -> None:
    """It looks once at the beginning, and not again before a stream can be due, whatever the steps."""

    async def scenario() -> None:
        sessions, _, repository = made(models, idle=3600.0)
        async with sessions.reaping():
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert sessions.rounds == 1
            await step(sessions, 1, start=True)
            for _ in range(100):
                await step(sessions, 1)
            assert sessions.rounds == 1
        await repository.close()

    asyncio.run(scenario())


def test_the_reaper_does_not_spin_where_the_clock_stands(models) -> None:
    """A clock that stands still, and a stream that is due at once: it is forgotten in one round."""

    async def scenario() -> None:
        sessions, clock, repository = made(models, idle=0.001)
        async with sessions.reaping():
            await step(sessions, 1, start=True)
            for _ in range(30):
                await asyncio.sleep(0.001)
            stood = sessions.rounds
            assert (
                stood < 40 and sessions.count == 1
            )  # it is not due by its clock, and was looked at once a sleep
            clock.now = 1.0
            for _ in range(500):
                await asyncio.sleep(0.002)
                if sessions.count == 0:
                    break
            assert sessions.count == 0
            rounds = sessions.rounds
            await asyncio.sleep(0.02)
            assert sessions.rounds <= rounds + 1
        await repository.close()

    asyncio.run(scenario())


def test_steps_of_one_stream_wait_for_each_other(models) -> None:
    async def scenario() -> None:
        sessions, _, repository = made(models, pending=3)
        await step(sessions, 1, start=True)
        found = await asyncio.gather(*(step(sessions, 1) for _ in range(5)), return_exceptions=True)
        refused = [error for error in found if error is not None]
        assert len(refused) == 2 and all(error.status == 429 for error in refused)
        streams = sessions.repository.get("score").streams
        (number,) = streams.pool.keys()
        assert streams.pool.steps(number) == 4 and sessions.count == 1
        await repository.close()

    asyncio.run(scenario())


def test_many_starts_of_one_sequence_at_once_leave_one(models) -> None:
    """Whichever comes last goes on; the others are answered or told that they ended, and no state is left behind."""

    async def scenario() -> None:
        sessions, _, repository = made(models)
        jobs = [step(sessions, 1, start=k % 3 != 2) for k in range(30)]
        found = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(error is None or error.status == 409 for error in found), found
        assert found.count(None) > 0
        await step(sessions, 1)
        pool = sessions.repository.get("score").streams.pool
        assert sessions.count == len(pool) == 1
        await repository.close()

    asyncio.run(scenario())


def test_a_full_house_loses_nobody(models) -> None:
    """As many streams as may be, one of which ends while others try to begin: the rest keep their states."""

    async def scenario() -> None:
        sessions, _, repository = made(models, sessions=3)
        streams = sessions.repository.get("score").streams
        for key in (1, 2, 3):
            await step(sessions, key, start=True)
        numbers = set(streams.pool.keys())

        async def end() -> None:
            await sessions.end(sessions.find(("score", 2)))

        found = await asyncio.gather(
            end(), *(step(sessions, key, start=True) for key in (4, 5, 6)), return_exceptions=True
        )
        assert all(error is None or error.status == 429 for error in found)
        assert len(streams.pool) == sessions.count <= 3
        assert len(numbers & set(streams.pool.keys())) == 2
        await step(sessions, 1)
        await step(sessions, 3)
        await repository.close()

    asyncio.run(scenario())
