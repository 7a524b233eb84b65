"""`StreamPool`: many sequences that come bit by bit, those with something new advanced together."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, check_int
from unspool.streaming import states
from unspool.streaming.keyed import Keyed
from unspool.streaming.model import stream_model
from unspool.streaming.stream import read_state


class StreamPool(Keyed):
    """Sessions of one model by key, each in a state of its own, as `Stream` is.

    model, weights, input_size: as of `Stream`.
    capacity: sessions that are held at most. A new one then takes the place of the one that got nothing for longest.
    max_age: seconds after which a session that gets nothing is gone, at the next push; None: it stays.
    threads: that share one push; None: torch's number.
    clock: what tells the seconds.

    A push is one native call, which lets go of the interpreter's lock; it has the bits of each session alone. Threads
    may share a pool: pushes come one after the other.
    """

    def __init__(
        self,
        model: Any,
        capacity: int = 10_000,
        max_age: float | None = None,
        weights: str = "float32",
        input_size: int | None = None,
        threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream_model(model, weights, input_size), capacity, max_age, clock)
        self.threads = (
            torch.get_num_threads() if threads is None else check_int("StreamPool", "threads", threads)
        )
        chain = self.model.chain
        self._start = chain.start()
        self._rows = torch.empty(capacity, chain.row)
        self._steps = torch.zeros(capacity, dtype=torch.int64)

    # --- advancing

    def push(self, chunks: Any, rows: Any = None) -> Any:
        """Advance the sessions that get something; those with a new key start.

        chunks: {key: chunk}, a chunk being what `Stream.push` takes -> {key: answer}.
        Or keys, n different ones, and rows, a step or chunk for each: an array (n, F), or a list -> the n answers, in
        order: an array or list as `predict` gives for n sequences, or for layers outputs (n, H).

        Raises `DataError`, with the key, for a chunk that cannot be read, for a key that comes twice, and for more keys
        than the pool's capacity; then nothing has changed.
        """
        if rows is None:
            if not isinstance(chunks, Mapping):
                raise DataError("A pool takes {key: chunk}, or keys and rows. Got keys without rows.")
            keys, parts = list(chunks), list(chunks.values())
        else:
            keys, parts = self._checked(chunks), rows if hasattr(rows, "__len__") else list(rows)
            if len(keys) != len(parts):
                raise DataError(
                    f"There must be a row for each key. Got {len(keys)} keys and {len(parts)} rows."
                )
        with self._lock:
            answers, lengths, single = self._push(keys, parts)
        every = self.model.chain.every
        if rows is not None and (not every or all(single)):
            return answers
        if not every:
            return dict(zip(keys, answers)) if rows is None else list(answers)
        found, at = [], 0
        for length, alone in zip(lengths, single):
            found.append(answers[at] if alone else answers[at : at + length])
            at += length
        return dict(zip(keys, found)) if rows is None else found

    def finish(self, keys: Iterable[Hashable]) -> dict[Hashable, Any]:
        """The answers of sessions whose sequences end, as of `Stream.finish`; `drop` then makes room."""
        keys = list(dict.fromkeys(self._checked(keys)))
        with self._lock:
            slots = [self._session(key) for key in keys]
            read = [self.model.feed.finish(self._held.get(slot, "")) for slot in slots]
            if not read:
                return {}
            lengths = [len(part) for part in read]
            out = self._run(slots, torch.cat(read), lengths)
            for slot in slots:
                self._held.pop(slot, None)
        answers = self.model.say(out)
        if not self.model.chain.every:
            return dict(zip(keys, answers))
        ends = np.cumsum(lengths).tolist()
        return {key: answers[end - length : end] for key, length, end in zip(keys, lengths, ends)}

    def _push(self, keys: list[Hashable], parts: Sequence[Any]) -> tuple[Any, list[int], list[bool]]:
        self._make_room(len(keys))
        before = [self._sessions.get(key, -1) for key in keys]
        held = [self._held.get(slot, "") for slot in before] if self._held else [""] * len(keys)
        if len(set(keys)) != len(keys):
            raise DataError("A session can get one chunk a push. A key came twice: put its chunks together.")
        read, lengths, rest, single = self._read(keys, parts, held)
        slots = self._places(keys, before)
        out = self._run(slots, read, lengths)
        self._hold(slots, rest)
        return self.model.say(out), lengths, single

    def _run(self, slots: list[int], read: Tensor, lengths: list[int]) -> np.ndarray:
        chain = self.model.chain
        ends = np.zeros(len(slots) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        out = np.empty((len(read) if chain.every else len(slots), chain.output_size), np.float32)
        at, offsets, to = (torch.from_numpy(each) for each in (np.array(slots, np.int64), ends, out))
        x, index = self.model.source(read)
        chain.run(self._rows, self._steps, at, offsets, x, index, to, self.threads)
        return out

    def _begin(self, slot: int) -> None:
        self._rows[slot] = self._start
        self._steps[slot] = self.model.chain.opened_steps

    # --- sessions

    def save(self, key: Hashable) -> bytes:
        """The state of a session as bytes, as of `Stream.save`; `KeyError` where there is none of this key."""
        with self._lock:
            slot = self._session(key)
            row, steps = self._rows[slot].numpy().copy(), int(self._steps[slot])
            state = states.SessionState(row, steps, self._held.get(slot, ""))
        return states.to_bytes(state, self.model.digest)

    def load(self, key: Hashable, data: bytes) -> None:
        """Begin a session in a saved state, or put the one of this key into it; raises as `Stream.load`."""
        state = read_state(self.model, data)
        with self._lock:
            (slot,) = self._places([key], [self._sessions.get(key, -1)])
            self._rows[slot] = torch.from_numpy(state.row)
            self._steps[slot] = state.steps
            self._hold([slot], [state.held])

    def steps(self, key: Hashable) -> int:
        """How many steps a session has read."""
        with self._lock:
            return int(self._steps[self._session(key)])

    def outputs(self, keys: Iterable[Hashable]) -> np.ndarray:
        """(n, output size) float32: the last outputs of the network for these sessions, before they are made answers.

        Raises `DataError` for a model that answers at every step.
        """
        chain = self.model.chain
        if chain.every:
            raise DataError("Outputs at every step are not kept. Use what push returns.")
        with self._lock:
            return self._rows[[self._session(key) for key in keys], chain.width :].numpy()

    def unfinished(self) -> list[Hashable]:
        """The keys of sessions whose text ended within a token, which `finish` would read."""
        with self._lock:
            return [key for key, slot in self._sessions.items() if slot in self._held]
