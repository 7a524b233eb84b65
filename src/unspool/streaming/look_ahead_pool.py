"""`LookAheadPool`: sessions by key of a model whose backward direction sees some steps ahead."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from unspool.errors import DataError, bad_parameter, check_int
from unspool.streaming.look_ahead import LookAheadStream
from unspool.streaming.model import ahead_model


class LookAheadPool:
    """As `StreamPool`, each session a `LookAheadStream` of its own, advanced one after the other.

    look_ahead, model, weights, input_size: as of `LookAheadStream`; capacity, max_age, clock: as of `StreamPool`.
    Threads may share a pool: pushes come one after the other.
    """

    def __init__(
        self,
        model: Any,
        look_ahead: int,
        capacity: int = 10_000,
        max_age: float | None = None,
        weights: str = "float32",
        input_size: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = ahead_model(model, look_ahead, weights, input_size)
        self.capacity = check_int("LookAheadPool", "capacity", capacity)
        if max_age is not None and not max_age > 0:
            bad_parameter("LookAheadPool", "max_age", "seconds above 0, or None", max_age)
        self.max_age, self.clock = max_age, clock
        self._all: OrderedDict[Hashable, tuple[LookAheadStream, float]] = (
            OrderedDict()
        )  # longest unused first
        self._lock = threading.RLock()

    def push(self, chunks: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """{key: chunk} -> {key: answer}, as of `LookAheadStream.push`; a new key begins a session. `DataError`, with
        the key, for a chunk that cannot be read, or more keys than the capacity; then nothing has changed."""
        with self._lock:
            if len(chunks) > self.capacity:
                raise DataError(
                    f"{len(chunks):,} sessions got something, more than the pool's capacity, {self.capacity:,}."
                )
            self.expire()
            fresh, answers = {}, {}
            for key, chunk in chunks.items():
                fresh[key] = self._all[key][0].fork() if key in self._all else self._new()
                try:
                    answers[key] = fresh[key].push(chunk)
                except DataError as error:
                    raise DataError(f"The chunk of session {key!r} cannot be read. {error}") from error
            for key, stream in fresh.items():
                self._put(key, stream)
        return answers

    def finish(self, keys: Iterable[Hashable]) -> dict[Hashable, Any]:
        """The answers of sessions whose sequences end, as of `LookAheadStream.finish`; then `drop` them."""
        with self._lock:
            return {key: self._stream(key).finish() for key in list(keys)}

    def _new(self) -> LookAheadStream:
        return LookAheadStream(self.model, self.model.look_ahead)

    def _put(self, key: Hashable, stream: LookAheadStream) -> None:
        self._all.pop(key, None)
        if len(self._all) >= self.capacity:
            self._all.popitem(last=False)
        self._all[key] = stream, self.clock()

    def expire(self) -> list[Hashable]:
        """As `StreamPool.expire`."""
        gone: list[Hashable] = []
        if self.max_age is None:
            return gone
        with self._lock:
            oldest = self.clock() - self.max_age
            while self._all and next(iter(self._all.values()))[1] < oldest:
                gone.append(self._all.popitem(last=False)[0])
        return gone

    def drop(self, key: Hashable) -> None:
        """End a session. `KeyError` where there is none of this key."""
        with self._lock:
            self._stream(key)
            del self._all[key]

    def save(self, key: Hashable) -> bytes:
        """As of `LookAheadStream.save`."""
        with self._lock:
            return self._stream(key).save()

    def load(self, key: Hashable, data: bytes) -> None:
        """Begin a session in a saved state, or put the one of this key into it."""
        stream = self._new().load(data)
        with self._lock:
            self._put(key, stream)

    def steps(self, key: Hashable) -> int:
        """How many steps a session has read."""
        with self._lock:
            return self._stream(key).steps

    def columns(self, keys: Iterable[Hashable]) -> dict[str, np.ndarray]:
        """As `StreamPool.columns`."""
        if self.model.columns is None:
            raise DataError("Only estimators of one answer a sequence have columns. Use what push returns.")
        with self._lock:
            outputs = [self._stream(key).outputs for key in keys]
        return self.model.columns(np.stack(outputs))

    def unfinished(self) -> list[Hashable]:
        """The keys of sessions that `finish` has something to say of: a text that ended within a token, outputs of
        steps that wait."""
        every = self.model.chain.every
        with self._lock:
            return [key for key, (s, _) in self._all.items() if s.held or (every and s.waiting)]

    def keys(self) -> list[Hashable]:
        """Those of all sessions, the one that got nothing for longest first."""
        with self._lock:
            return list(self._all)

    def __contains__(self, key: object) -> bool:
        return key in self._all

    def __len__(self) -> int:
        return len(self._all)

    def _stream(self, key: Hashable) -> LookAheadStream:
        try:
            return self._all[key][0]
        except KeyError:
            raise KeyError(f"The pool has no session {key!r}: it was never begun, or has expired.") from None
