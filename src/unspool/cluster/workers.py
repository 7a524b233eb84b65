"""Work side by side on a cluster, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from unspool.cluster.connection import connected
from unspool.cluster.pool import Pool


class ClusterWorkers:
    """A `Pool` of `function(context, item)` on the cluster at `address` (see `connected`).

    cores: processors of "local", where no limit is given. limit: calls at a time; None: one a processor of the
    cluster. say: is given a line of the nodes, and at the end one of where the calls were. A context manager; left by
    an exception, it cancels the calls that are going on.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        context: Any,
        address: str,
        limit: int | None,
        cores: int,
        say: Callable[[str], None],
    ) -> None:
        self.function, self.context, self.address = function, context, address
        self.limit, self.cores, self.say = limit, limit or cores, say
        self.stack = ExitStack()

    def __enter__(self) -> ClusterWorkers:
        with ExitStack() as stack:
            cluster = stack.enter_context(connected(self.address, self.cores))
            self.pool = Pool(cluster, self.function, self.context, self.limit)
            self.say(str(cluster))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with self.stack:
            self.pool.cancel()
            if summary := str(self.pool.tally):
                self.say(summary)

    @property
    def jobs(self) -> int:
        """Calls at a time, now."""
        return self.pool.jobs

    def run(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Pool.run`."""
        return self.pool.run(items)
