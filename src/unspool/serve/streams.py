"""The streams of one loaded model: a pool of sessions, and the steps of several of them computed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.serve.batching import Batcher
from unspool.serve.limits import Limits
from unspool.serve.rows import Rows
from unspool.serve.served import Served
from unspool.streaming import StreamPool, stream_model


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What comes next in a session: as `StreamPool.push` takes it. ends: the sequence ends behind it."""

    session: Hashable
    given: Any
    ends: bool


class Streams:
    """The open sessions of a model, each advanced by one chunk at a time.

    weights: their form, as of `StreamPool`. count: of those that are open, kept by `Sessions`. Raises `DataError` for a
    model that cannot be a stream.
    """

    def __init__(self, served: Served, weights: str, limits: Limits) -> None:
        if served.text_column is not None:
            raise DataError("A model with further columns answers for whole rows.")
        model = dataclasses.replace(stream_model(served.model, weights), answers=None)
        self.served, self.pool, self.count = served, StreamPool(model, capacity=limits.sessions), 0
        self._batcher: Batcher[Chunk, dict[str, np.ndarray]] = Batcher(
            f"{served.name}-streams",
            self._advance,
            lambda _: 1,
            size=limits.batch,
            delay=0.0,
            queue=limits.queue,
            retry=DataError,
        )

    async def push(self, session: Hashable, rows: Rows, ends: bool) -> dict[str, np.ndarray]:
        """The outputs after a chunk, one sequence. A session must not be pushed again before."""
        return await self._batcher.submit(Chunk(session, _given(rows), ends))

    async def forget(self, session: Hashable) -> None:
        """Its place is free."""
        await self._batcher.call(self._forget, session)

    async def close(self) -> None:
        """Answer what was taken."""
        await self._batcher.close()

    def warm(self, rows: Rows) -> None:
        """Make a step once."""
        self._advance([Chunk(None, _given(rows), True)])
        self.pool.drop(None)

    def _forget(self, session: Hashable) -> None:
        if session in self.pool:  # not where its first chunk was refused
            self.pool.drop(session)

    def _advance(self, chunks: Sequence[Chunk]) -> list[dict[str, np.ndarray]]:
        """Outputs for each; where one cannot be read `DataError`, and nothing has changed."""
        if self.pool.model.chain.every:
            return self._steps(chunks)
        outputs = self.pool.push([c.session for c in chunks], [c.given for c in chunks])
        for place, chunk in enumerate(chunks):
            if chunk.ends:
                outputs[place] = self.pool.finish([chunk.session])[chunk.session]
        found = self.served.answers(outputs.astype(np.float64))
        return [{name: a[k : k + 1] for name, a in found.items()} for k in range(len(chunks))]

    def _steps(self, chunks: Sequence[Chunk]) -> list[dict[str, np.ndarray]]:
        """The same of a model that answers at every step: of the steps of each chunk."""
        found = self.pool.push([c.session for c in chunks], [c.given for c in chunks])
        return [self.served.answers(outputs.astype(np.float64)) for outputs in found]


def _given(rows: Rows) -> Any:
    """As `StreamPool.push` takes it: a text, tokens, or all steps."""
    if rows.values is not None and rows.values.dtype == object:
        return rows.values.tolist()
    return rows.values if rows.texts is None else rows.texts[0]
