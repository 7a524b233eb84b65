"""The models of a server by name, and new versions of them while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unspool.errors import DataError, EngineError
from unspool.saved import load
from unspool.serve import examples
from unspool.serve.batching import Batcher
from unspool.serve.errors import RequestError
from unspool.serve.kinds import served_of
from unspool.serve.limits import Limits
from unspool.serve.metrics import Metrics
from unspool.serve.rows import Rows
from unspool.serve.served import Served
from unspool.serve.streams import Streams

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Version:
    """One loading of a model: what it is, and the threads that compute its answers.

    streams: its open streams, or None where it has none; no_streams then tells why.
    """

    def __init__(self, number: int, served: Served, weights: str, limits: Limits, metrics: Metrics) -> None:
        self.number, self.served = str(number), served
        self.batcher: Batcher[Rows, dict[str, np.ndarray]] = Batcher(
            served.name,
            served.answer,
            lambda rows: rows.count,
            size=limits.batch,
            delay=limits.delay,
            queue=limits.queue,
            seen=metrics.batch.labels(served.name).observe,
        )
        self.users = 0  # requests that are being answered
        self.streams: Streams | None = None
        self.no_streams = ""
        try:
            if not served.streamed:
                raise DataError(
                    f"An estimator of the class {type(served.model).__name__} answers for whole rows."
                )
            self.streams = Streams(served, weights, limits)
        except (DataError, EngineError) as error:
            self.no_streams = str(error)

    @property
    def in_use(self) -> bool:
        """Whether a request is being answered by it, or a stream goes on with it."""
        return self.users > 0 or (self.streams is not None and self.streams.count > 0)

    def warm(self) -> None:
        """Answer once, so that the first request finds everything in its place."""
        rows = self.served.rows(examples.tensors_of(self.served))
        self.served.answer([rows])
        if self.streams is not None:
            self.streams.warm(rows)

    async def close(self) -> None:
        """Answer all that was taken."""
        await self.batcher.close()
        if self.streams is not None:
            await self.streams.close()

    def metadata(self) -> dict[str, Any]:
        """Of the protocol."""
        return self.served.metadata(self.number)


class Repository:
    """The served models, read from `paths`; weights: their form while predicting, as of `freeze`."""

    def __init__(self, paths: Mapping[str, Path], weights: str, limits: Limits, metrics: Metrics) -> None:
        """Loads all of them; `ModelFileError` and `DataError` as they come."""
        self.paths, self.weights, self.limits, self.metrics = dict(paths), weights, limits, metrics
        self._current: dict[str, Version] = {name: self._new(name, 1) for name in self.paths}
        self._old: list[Version] = []
        self._locks = {name: asyncio.Lock() for name in self.paths}

    def names(self) -> list[str]:
        """In the order given."""
        return list(self._current)

    def get(self, name: str, number: str | None = None) -> Version:
        """The newest version; `RequestError` 404 for an unknown name, or a number that is not the newest's."""
        if name not in self._current:
            raise RequestError(
                404, f"There is no model {name!r:.100}. There is {', '.join(map(repr, self._current))}."
            )
        version = self._current[name]
        if number is not None and number != version.number:
            raise RequestError(404, f"Model {name!r} has version {version.number}. Got {number!r:.40}.")
        return version

    @contextlib.asynccontextmanager
    async def using(self, name: str, number: str | None = None) -> AsyncIterator[Version]:
        """As `get`; the version answers while inside, also where a new one has come."""
        version = self.get(name, number)
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            if version is not self._current[name]:
                await self.forget_old()

    def versions(self) -> list[Version]:
        """All that are in use, old ones with open streams too."""
        return [*self._current.values(), *self._old]

    async def reload(self, name: str) -> Version:
        """Read the model anew and answer with it from now on; open streams go on with the version they began with.

        Raises as `unspool.load`; the version that is there then stays.
        """
        old = self.get(name)
        async with self._locks[name]:
            old = self._current[name]
            loop = asyncio.get_running_loop()
            new = await loop.run_in_executor(None, self._new, name, int(old.number) + 1)
            self._current[name] = new
            self._old.append(old)
        await self.forget_old()
        return new

    async def forget_old(self) -> None:
        """Let go of versions that are neither the newest nor in use."""
        done = [version for version in self._old if not version.in_use]
        self._old = [version for version in self._old if version not in done]
        for version in done:
            await version.close()

    async def close(self) -> None:
        """Answer all that was taken."""
        for version in self.versions():
            await version.close()

    def _new(self, name: str, number: int) -> Version:
        model = load(self.paths[name], to_fit=False)
        if self.weights != "float32":
            model = model.freeze(self.weights)
        version = Version(
            number, served_of(name, model, self.limits), self.weights, self.limits, self.metrics
        )
        version.warm()
        self.metrics.version.labels(name).set(number)
        return version


def named_paths(models: Sequence[str]) -> dict[str, Path]:
    """PATH or NAME=PATH -> name and path; a path alone has the name of its folder or file. `DataError` for a name that
    is none, or is there twice."""
    found: dict[str, Path] = {}
    for model in models:
        name, equals, place = model.partition("=")
        path = Path(os.path.expanduser(place if equals else model))
        name = name if equals else path.resolve().name.removesuffix(".zip")
        if not NAME.fullmatch(name):
            raise DataError(
                f"A model needs a name of letters, digits and . _ -. Got {name!r}. Write NAME={path}."
            )
        if name in found:
            raise DataError(f"Two models have the name {name!r}. Write NAME={path} for one of them.")
        found[name] = path
    return found
