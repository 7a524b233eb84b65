"""What pools of sessions share: keys, their order, room, age."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from unspool.errors import DataError, bad_parameter, check_float, check_int


class Keyed:
    """Sessions by key, each in a slot, the one that got nothing for longest first; `StreamPool` says what the
    parameters are.

    A pool adds `save`, `load` and `outputs` of a session, and `_begin`: a session starts in a slot.
    """

    save: Callable[[Hashable], bytes]
    load: Callable[[Hashable, bytes], None]
    outputs: Callable[[Iterable[Hashable]], np.ndarray]
    _begin: Callable[[int], None]

    def __init__(self, model: Any, capacity: int, max_age: float | None, clock: Callable[[], float]) -> None:
        owner = type(self).__name__
        self.model = model
        self.capacity = check_int(owner, "capacity", capacity)
        if max_age is not None:
            check_float(owner, "max_age", max_age, 0, math.inf, closed="right")
        self.max_age, self.clock = max_age, clock
        self._sessions: OrderedDict[Hashable, int] = OrderedDict()  # key -> slot
        try:
            self._used = np.zeros(capacity)
        except (MemoryError, ValueError):
            bad_parameter(owner, "capacity", "sessions that fit into memory", capacity)
        self._free: list[int] = []
        self._fresh = 0  # slots from here on were never used
        self._held: dict[int, str] = {}
        self._lock = threading.RLock()

    def expire(self) -> list[Hashable]:
        """Drop the sessions that got nothing for `max_age` seconds; their keys."""
        gone: list[Hashable] = []
        if self.max_age is None:
            return gone
        with self._lock:
            oldest = self.clock() - self.max_age
            for key, slot in self._sessions.items():
                if self._used[slot] > oldest:
                    break
                gone.append(key)
            for key in gone:
                self.drop(key)
        return gone

    def drop(self, key: Hashable) -> None:
        """End a session: its slot is free. `KeyError` where there is none of this key."""
        with self._lock:
            slot = self._session(key)
            del self._sessions[key]
            self._held.pop(slot, None)
            self._free.append(slot)

    def fork(self, key: Hashable, new: Hashable) -> None:
        """Another session in the same state; `KeyError` where there is none of this key, `DataError` where there is one
        of the new key."""
        with self._lock:
            if new in self._sessions:
                raise DataError(f"The pool has a session {new!r} already. Drop it first.")
            self.load(new, self.save(key))

    def columns(self, keys: Iterable[Hashable]) -> dict[str, np.ndarray]:
        """The last answers as columns (n,) of a table: of a classifier also the probability of each class."""
        if self.model.columns is None:
            raise DataError("Only estimators of one answer a sequence have columns. Use what push returns.")
        return self.model.columns(self.outputs(keys))

    def keys(self) -> list[Hashable]:
        """Those of all sessions, the one that got nothing for longest first."""
        with self._lock:
            return list(self._sessions)

    def __contains__(self, key: object) -> bool:
        return key in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def _checked(self, keys: Any) -> list[Hashable]:
        """Keys in their order; `DataError` for what is none."""
        try:
            keys = keys.tolist() if isinstance(keys, (np.ndarray, Tensor)) else list(keys)
            hash(tuple(keys))
        except TypeError as error:
            raise DataError(f"Keys must be several, such as numbers or texts. {error}.") from error
        return keys

    def _make_room(self, count: int) -> None:
        """For so many sessions in one push."""
        if count > self.capacity:
            raise DataError(
                f"{count:,} sessions got something, more than the pool's capacity, {self.capacity:,}."
            )
        self.expire()

    def _places(self, keys: Sequence[Hashable], before: list[int]) -> list[int]:
        """A slot for each key, which are then the last to go. before: those that they have, -1 for none."""
        slots, now = self._sessions, self.clock()
        for key, slot in zip(keys, before):
            if slot >= 0:
                slots.move_to_end(key)
        if -1 in before:
            before = [self._new(key) if slot < 0 else slot for key, slot in zip(keys, before)]
        self._used[before] = now
        return before

    def _new(self, key: Hashable) -> int:
        if self._free:
            slot = self._free.pop()
        elif self._fresh < self.capacity:
            slot, self._fresh = self._fresh, self._fresh + 1
        else:
            self.drop(next(iter(self._sessions)))
            slot = self._free.pop()
        self._sessions[key] = slot
        self._begin(slot)
        return slot

    def _hold(self, slots: Sequence[int], texts: Sequence[str]) -> None:
        """What chunks left behind."""
        for slot, text in zip(slots, texts):
            if text:
                self._held[slot] = text
            elif self._held:
                self._held.pop(slot, None)

    def _read(self, keys: Sequence[Hashable], parts: Any, held: list[str]) -> Any:
        """As of `Feed.read_all`; a chunk that cannot be read is told with its key."""
        feed = self.model.feed
        if not len(keys):
            return feed.finish(""), [], [], []
        if isinstance(parts, (np.ndarray, Tensor)) and parts.ndim == 2 and feed.table is None:
            read, _, _ = feed.read(parts, "")
            return read, [1] * len(keys), held, [True] * len(keys)
        try:
            return feed.read_all(parts, held)
        except DataError:
            for key, part, text in zip(keys, parts, held):
                try:
                    feed.read(part, text)
                except DataError as error:
                    raise DataError(f"The chunk of session {key!r} cannot be read. {error}") from error
            raise

    def _session(self, key: Hashable) -> int:
        try:
            return self._sessions[key]
        except KeyError:
            raise KeyError(f"The pool has no session {key!r}: it was never begun, or has expired.") from None
