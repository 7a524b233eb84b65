"""Streams that are open: each goes on where it stopped, whoever else is computed beside it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits
from unspool.serve.metrics import Metrics
from unspool.serve.protocol import InferRequest
from unspool.serve.repository import Repository, Version
from unspool.serve.rows import Rows
from unspool.serve.streams import Streams

Key = tuple[str, Any]  # (model, sequence_id), or ("", token) of a WebSocket's stream


@dataclass(eq=False)
class Session:
    """One stream. number: of no other one. version: of the model, the one it began with. used: when, on the clock of
    `Sessions`. received: messages that were answered; replies: the last of them, (number, text). holder: the WebSocket
    that has it."""

    key: Key
    number: int
    version: Version
    streams: Streams
    used: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    received: int = 0
    replies: deque[tuple[int, str]] = field(default_factory=deque)
    holder: Any = None
    ended: bool = False


class Sessions:
    """The open streams of all models, at most `limits.sessions`.

    One that nobody is connected to is forgotten `limits.idle` seconds after its last step; the answers of one that
    ended on a WebSocket stay for `limits.kept` seconds, for a client that lost them. clock: seconds, for tests.
    """

    def __init__(
        self,
        repository: Repository,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.repository, self.limits, self.metrics, self.clock = repository, limits, metrics, clock
        self._all: dict[Key, Session] = {}
        self._idle: OrderedDict[Key, Session] = OrderedDict()  # those that nobody has, longest unused first
        self._over: OrderedDict[Key, Session] = (
            OrderedDict()
        )  # ended, their last answers kept; the first ones first
        self._change = asyncio.Event()
        self._opened = 0  # so far
        self.count = 0  # open, or with a state that is being forgotten
        self.rounds = 0  # of the reaper

    # --- one stream

    def open(self, key: Key, version: Version) -> Session:
        """A new stream, in use; `RequestError` 422 where the model has none, 429 where there are too many."""
        if version.streams is None:
            raise RequestError(
                422, f"The model {version.served.name!r} cannot be a stream. {version.no_streams}"
            )
        if self.count >= self.limits.sessions:
            raise RequestError(
                429, f"{self.count:,} streams are open, as many as may be. End one, or try again later."
            )
        self._opened, self.count = self._opened + 1, self.count + 1
        session = Session(key, self._opened, version, version.streams, self.clock())
        version.streams.count += 1
        self._all[key] = session
        return session

    def new_token(self) -> Key:
        """The key of a WebSocket's stream, which nobody can guess."""
        return ("", secrets.token_urlsafe(24))

    def find(self, key: Key) -> Session:
        """An open stream, in use from now on: not to be forgotten until `release`. `RequestError` 409 for none."""
        session = self._all.get(key)
        if session is None:
            raise RequestError(
                409,
                f"There is no open stream {key[1]!r:.80}: it was never started, has ended, or nobody used it for long.",
            )
        self._idle.pop(key, None)
        return session

    def release(self, session: Session) -> None:
        """Nobody uses it now: its idle time begins."""
        if not session.ended and session.holder is None and not session.waiting:
            session.used = self.clock()
            self._idle.pop(session.key, None)
            self._idle[session.key] = session
            self._change.set()

    def answered(self, key: Key) -> Session | None:
        """A stream that has ended, while its answers are kept."""
        return self._over.get(key)

    async def end(self, session: Session, keep: bool = False) -> None:
        """Forget a stream and its state, behind the step that is being computed. keep: its answers for a while."""
        if session.ended:
            return
        session.ended = True
        del self._all[session.key]
        self._idle.pop(session.key, None)
        if keep:
            session.used = self.clock()
            self._over[session.key] = session
            if len(self._over) > self.limits.sessions:
                self._over.popitem(last=False)
            self._change.set()
        try:
            async with session.turn:
                await session.streams.forget(session.number)
        finally:
            self.count -= 1
            session.streams.count -= 1
        if session.streams.count == 0:
            await self.repository.forget_old()

    async def advance(self, session: Session, rows: Rows, ends: bool = False) -> dict[str, np.ndarray]:
        """The outputs after the steps of `rows`, one sequence; those of one stream are computed one after the other.

        ends: the sequence ends here, and with it the last word of a text.
        """
        if session.waiting >= self.limits.pending:
            raise RequestError(429, f"{session.waiting} requests of this stream wait already.")
        started = time.perf_counter()
        session.waiting += 1
        try:
            async with session.turn:
                if session.ended:
                    raise RequestError(409, "The stream ended before this step's turn.")
                outputs = await session.streams.push(session.number, rows, ends)
        finally:
            session.waiting -= 1
        self.metrics.steps.labels(session.version.served.name).inc(rows.steps)
        self.metrics.step_seconds.observe(time.perf_counter() - started)
        return outputs

    # --- Triton's sequences

    async def step(self, version: Version, asked: InferRequest) -> tuple[str, dict[str, np.ndarray]]:
        """(version, outputs) of a request with a sequence_id; `RequestError` 409 for one that was not started."""
        key = (version.served.name, asked.sequence)
        old = self._all.get(key)
        version = version if asked.start or old is None else old.version
        rows = version.served.step_rows(asked.inputs)
        while asked.start and key in self._all:
            await self.end(self._all[key])
        session = self.open(key, version) if asked.start else self.find(key)
        try:
            outputs = await self.advance(session, rows, asked.end)
        except BaseException:
            if asked.start:
                await self.end(session)
            raise
        finally:
            self.release(session)
        if asked.end:
            await self.end(session)
        return version.number, outputs

    # --- forgetting

    @contextlib.asynccontextmanager
    async def reaping(self) -> AsyncIterator[None]:
        """While inside, streams are forgotten when their time has come."""
        task = asyncio.create_task(self._reap())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _reap(self) -> None:
        """Sleeps until the longest unused stream can be due: one that is unused from now on, a whole idle time."""
        while True:
            self.rounds += 1
            await self.expire()
            due = self._due()
            if due is None:
                self._change.clear()
                await self._change.wait()
                await asyncio.sleep(min(self.limits.idle, self.limits.kept))
            else:
                await asyncio.sleep(max(due - self.clock(), 0.001))

    def _due(self) -> float | None:
        """When the next one is to be forgotten, of those there are; one that comes later is not before it."""
        waits = ((self._idle, self.limits.idle), (self._over, self.limits.kept))
        due = [next(iter(of.values())).used + wait for of, wait in waits if of]
        if len(due) == 1:  # one of the other kind may come, and be due before
            due.append(self.clock() + min(self.limits.idle, self.limits.kept))
        return min(due, default=None)

    async def expire(self) -> None:
        """Forget those that are due."""
        while self._over and next(iter(self._over.values())).used + self.limits.kept <= self.clock():
            self._over.popitem(last=False)
        while self._idle:
            first = next(iter(self._idle.values()))
            if first.used + self.limits.idle > self.clock():
                return
            self.metrics.expired.inc()
            await self.end(first)
