"""What pools of sessions share: keys, their order, room, age."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from unspool.errors import DataError, bad_parameter, check_int


class Keyed:
    """Sessions by key, the one that got nothing for longest first; `StreamPool` says what the parameters are.

    A pool adds `drop`, `save`, `load` and `outputs` of a session, and `_used_at`: when one last got something.
    """

    drop: Callable[[Hashable], None]
    save: Callable[[Hashable], bytes]
    load: Callable[[Hashable, bytes], None]
    outputs: Callable[[Iterable[Hashable]], np.ndarray]
    _used_at: Callable[[Any], float]

    def __init__(self, model: Any, capacity: int, max_age: float | None, clock: Callable[[], float]) -> None:
        owner = type(self).__name__
        self.model = model
        self.capacity = check_int(owner, "capacity", capacity)
        if max_age is not None and not max_age > 0:
            bad_parameter(owner, "max_age", "seconds above 0, or None", max_age)
        self.max_age, self.clock = max_age, clock
        self._sessions: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.RLock()

    def expire(self) -> list[Hashable]:
        """Drop the sessions that got nothing for `max_age` seconds; their keys."""
        gone: list[Hashable] = []
        if self.max_age is None:
            return gone
        with self._lock:
            oldest = self.clock() - self.max_age
            for key, session in self._sessions.items():
                if self._used_at(session) >= oldest:
                    break
                gone.append(key)
            for key in gone:
                self.drop(key)
        return gone

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

    def _make_room(self, count: int) -> None:
        """For so many sessions in one push."""
        if count > self.capacity:
            raise DataError(
                f"{count:,} sessions got something, more than the pool's capacity, {self.capacity:,}."
            )
        self.expire()

    def _session(self, key: Hashable) -> Any:
        try:
            return self._sessions[key]
        except KeyError:
            raise KeyError(f"The pool has no session {key!r}: it was never begun, or has expired.") from None
