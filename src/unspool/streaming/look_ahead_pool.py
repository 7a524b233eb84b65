"""`LookAheadPool`: sessions by key of a model whose backward direction sees some steps ahead, advanced together."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, described
from unspool.streaming import lanes
from unspool.streaming.keyed import Keyed
from unspool.streaming.look_ahead import from_bytes, to_bytes
from unspool.streaming.model import ahead_model


class LookAheadPool(Keyed):
    """As `StreamPool`, each session in a state of its own, as `LookAheadStream` is.

    look_ahead, model, weights, input_size: as of `LookAheadStream`; capacity, max_age, clock: as of `StreamPool`.
    A push runs each direction of each layer once over all sessions that get something (those of models on the plain
    loop one after the other); it has the bits of each session alone. Threads may share a pool: pushes come one after
    the other.
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
        self._native = self.model.native
        self._first = lanes.start(self.model)
        self._all = lanes.start(self.model, 0)
        self._out = np.zeros(
            (capacity, 0 if self.model.chain.every else self.model.chain.output_size), np.float32
        )
        self._ended: set[int] = set()

    def push(self, chunks: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """{key: chunk} -> {key: answer}, as of `LookAheadStream.push`; a new key begins a session. `DataError`, with
        the key, for a chunk that cannot be read, or more keys than the capacity; then nothing has changed."""
        if not isinstance(chunks, Mapping):
            raise DataError(f"A pool takes {{key: chunk}}. Got {described(chunks)}.")
        keys = list(chunks)
        with self._lock:
            self._make_room(len(keys))
            before = [self._sessions.get(key, -1) for key in keys]
            for key, slot in zip(keys, before):
                if slot in self._ended:
                    raise DataError(
                        f"The chunk of session {key!r} cannot be read. It has ended: its last steps were answered. "
                        "Call drop(key) first."
                    )
            held = [self._held.get(slot, "") for slot in before]
            read, lengths, rest, _ = self._read(keys, list(chunks.values()), held)
            slots = self._places(keys, before)
            self._hold(slots, rest)
            tensors = [isinstance(chunk, Tensor) for chunk in chunks.values()]
            return dict(zip(keys, self._answers(slots, read, lengths, tensors, ends=False)))

    def finish(self, keys: Iterable[Hashable]) -> dict[Hashable, Any]:
        """The answers of sessions whose sequences end, as of `LookAheadStream.finish`; then `drop` them."""
        keys = list(dict.fromkeys(self._checked(keys)))
        with self._lock:
            slots = [self._session(key) for key in keys]
            for key, slot in zip(keys, slots):
                if slot in self._ended:
                    raise DataError(f"The session {key!r} has ended already. Call drop(key) first.")
            read = [self.model.feed.finish(self._held.pop(slot, "")) for slot in slots]
            if not read:
                return {}
            lengths, tensors = [len(part) for part in read], [False] * len(keys)
            found = self._answers(slots, torch.cat(read), lengths, tensors, self.model.chain.every)
            if self.model.chain.every:
                self._ended.update(slots)
            return dict(zip(keys, found))

    def _answers(
        self, slots: list[int], read: Tensor, lengths: list[int], tensors: list[bool], ends: bool
    ) -> list[Any]:
        """Advance the sessions of these slots; what each says. tensors: which of them say it as one."""
        model, every = self.model, self.model.chain.every
        outputs: list[Tensor] = []
        counts: list[int] = []
        at = 0
        for group in [slots] if self._native else [[slot] for slot in slots]:
            part = lengths[len(counts) : len(counts) + len(group)]
            rows = read[at : at + sum(part)]
            at += len(rows)
            threads = torch.get_num_threads()
            out, said_of, new = lanes.advance(
                model,
                self._all.take(model, group),
                model.given(rows),
                np.array(part, np.int64),
                threads,
                ends,
            )
            if not every:
                out = lanes.answer(model, new, threads)
                self._out[group] = out.numpy()
            if not ends:
                self._all.put(group, new)
            outputs.append(out)
            counts += said_of.tolist()
        if not outputs:
            return []
        said = model.say(torch.cat(outputs).numpy())
        if not every:
            return list(said)
        answers, at = [], 0
        for count, tensor in zip(counts, tensors):
            one = said[at : at + count]
            answers.append(torch.from_numpy(one) if tensor and model.answers is None else one)
            at += count
        return answers

    # --- sessions

    def _begin(self, slot: int) -> None:
        if slot >= len(self._all.steps):
            self._all.grow(slot + 1)
        self._all.put([slot], self._first)
        self._ended.discard(slot)

    def save(self, key: Hashable) -> bytes:
        """As of `LookAheadStream.save`."""
        with self._lock:
            slot = self._session(key)
            if slot in self._ended:
                raise DataError(f"The session {key!r} has ended: there is no state to go on from.")
            return to_bytes(self.model, self._all.take(self.model, [slot]), self._held.get(slot, ""))

    def load(self, key: Hashable, data: bytes) -> None:
        """Begin a session in a saved state, or put the one of this key into it."""
        places, held = from_bytes(self.model, data)
        with self._lock:
            (slot,) = self._places([key], [self._sessions.get(key, -1)])
            self._ended.discard(slot)
            self._all.put([slot], places)
            self._hold([slot], [held])
            if not self.model.chain.every:
                self._out[slot] = lanes.answer(self.model, places, 1)[0].numpy()

    def steps(self, key: Hashable) -> int:
        """How many steps a session has read."""
        with self._lock:
            return int(self._all.steps[self._session(key)])

    def outputs(self, keys: Iterable[Hashable]) -> np.ndarray:
        """As of `StreamPool.outputs`."""
        if self.model.chain.every:
            raise DataError("Outputs at every step are not kept. Use what push returns.")
        with self._lock:
            return self._out[[self._session(key) for key in keys]]

    def unfinished(self) -> list[Hashable]:
        """The keys of sessions that `finish` has something to say of: a text that ended within a token, outputs of
        steps that wait."""
        with self._lock:
            waits = self._all.steps > lanes.done_of(self.model, self._all.steps)
            every = self.model.chain.every
            return [
                key
                for key, slot in self._sessions.items()
                if slot not in self._ended and (slot in self._held or (every and bool(waits[slot])))
            ]
