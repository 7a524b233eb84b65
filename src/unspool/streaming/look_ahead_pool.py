"""`LookAheadPool`: sessions by key of a model whose backward direction sees some steps ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.streaming.keyed import Keyed
from unspool.streaming.look_ahead import LookAheadStream
from unspool.streaming.model import ahead_model


class LookAheadPool(Keyed):
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
        super().__init__(ahead_model(model, look_ahead, weights, input_size), capacity, max_age, clock)

    def push(self, chunks: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """{key: chunk} -> {key: answer}, as of `LookAheadStream.push`; a new key begins a session. `DataError`, with
        the key, for a chunk that cannot be read, or more keys than the capacity; then nothing has changed."""
        with self._lock:
            self._make_room(len(chunks))
            fresh, answers = {}, {}
            for key, chunk in chunks.items():
                fresh[key] = self._sessions[key][0].fork() if key in self._sessions else self._new()
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
        self._sessions.pop(key, None)
        if len(self._sessions) >= self.capacity:
            self._sessions.popitem(last=False)
        self._sessions[key] = stream, self.clock()

    def drop(self, key: Hashable) -> None:
        """End a session. `KeyError` where there is none of this key."""
        with self._lock:
            self._stream(key)
            del self._sessions[key]

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

    def outputs(self, keys: Iterable[Hashable]) -> np.ndarray:
        """As of `StreamPool.outputs`."""
        if self.model.chain.every:
            raise DataError("Outputs at every step are not kept. Use what push returns.")
        with self._lock:
            return np.stack([self._stream(key).outputs for key in keys])

    def unfinished(self) -> list[Hashable]:
        """The keys of sessions that `finish` has something to say of: a text that ended within a token, outputs of
        steps that wait."""
        every = self.model.chain.every
        with self._lock:
            return [key for key, (s, _) in self._sessions.items() if s.held or (every and s.waiting)]

    def _stream(self, key: Hashable) -> LookAheadStream:
        return self._session(key)[0]

    def _used_at(self, session: tuple[LookAheadStream, float]) -> float:
        return session[1]
