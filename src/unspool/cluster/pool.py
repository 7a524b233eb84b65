"""Calls of one function on a cluster, side by side: one processor and one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from unspool import __version__
from unspool.cluster.connection import Cluster
from unspool.cluster.tally import Tally, here
from unspool.errors import UnspoolError

RETRIES = 5  # of a call whose node or process was lost
MISSING = (
    "A node cannot import what the work needs: {}. Install it on all nodes; what is defined in the script itself is "
    "sent along."
)


class Pool:
    """`function(context, item)` for many items, wherever the cluster has a processor free.

    function: of a module that the nodes can import. context: sent to the cluster once, and unpacked once in each of
    its processes. jobs: calls at a time; None: as many as the cluster has processors at that moment.

    A call whose node is lost is made again elsewhere, so `function` must give the same whenever it is called. Errors of
    unspool are raised as they were; another version of unspool on a node is one. tally: where the calls ended.
    """

    def __init__(
        self, cluster: Cluster, function: Callable[[Any, Any], Any], context: Any, jobs: int | None = None
    ) -> None:
        self.cluster, self.limit = cluster, jobs
        self.tally = Tally(cluster)
        self._call = cluster.ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
        self._context = sent(cluster, (function, context))
        self._pending: dict[Any, Any] = {}

    @property
    def jobs(self) -> int:
        """Calls at a time, now."""
        return self.limit or max(1, self.cluster.cpus())

    def run(self, items: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """(item, result) as they come. The next item is taken when a place is free, so `items` may end by the clock."""
        ray = self.cluster.ray
        while True:
            places = self.jobs
            while len(self._pending) < places and (item := next(items, None)) is not None:
                self._pending[self._call.remote(__version__, self._context, item)] = item
            if not self._pending:
                return
            for ref in ray.wait([*self._pending], num_returns=1)[0]:
                yield self._pending.pop(ref), self._result(ref)

    def cancel(self) -> None:
        """End the calls that are going on."""
        for ref in self._pending:
            self.cluster.ray.cancel(ref, force=True)
        self._pending.clear()

    def _result(self, ref: Any) -> Any:
        from ray import exceptions

        try:
            place, result = self.cluster.ray.get(ref)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, UnspoolError):
                raise error.cause from None
            if isinstance(error.cause, ImportError):
                raise UnspoolError(MISSING.format(error.cause)) from error
            raise
        except (exceptions.RaySystemError, exceptions.RuntimeEnvSetupError) as error:
            raise UnspoolError(f"The cluster cannot make a call: {error}") from error
        except exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise UnspoolError(
                f"A process of the cluster was lost {RETRIES + 1} times at the same work ({reason}). Often it ran out "
                "of memory: use nodes with more of it for each processor, or smaller models."
            ) from error
        self.tally.add(place)
        return result


_contents: dict[str, Any] = {}


def _call(version: str, held: list[Any], item: Any) -> tuple[tuple[str, str], Any]:
    """On a node: (`here`, the result)."""
    function, context = content_of(version, held)
    try:
        result = function(context, item)
    except KeyboardInterrupt:
        # The node is being shut down, and a training ended early: nothing is told of it, and the call is made again.
        os._exit(1)
    return here(), result


def sent(cluster: Cluster, content: Any) -> list[Any]:
    """`content` on the cluster, once; to be given to tasks, in which `content_of` unpacks it.

    It is in a list, so that a task is given the reference and not the content, and in bytes, so that each process has a
    copy of its own that it may write to.
    """
    from ray import cloudpickle

    return [cluster.ray.put(cloudpickle.dumps(content))]


def content_of(version: str, held: list[Any]) -> Any:
    """In a task: what `sent` was given, unpacked once in each process, which has one thread from then on.

    `UnspoolError` where this node has another version of unspool, or lacks a module that is needed.
    """
    import ray

    if version != __version__:
        raise UnspoolError(
            f"A node has unspool {__version__}, and the work is started with {version}. Install the same on all nodes."
        )
    (reference,) = held
    if (key := reference.hex()) not in _contents:
        _contents.clear()
        try:
            _contents[key] = ray.cloudpickle.loads(ray.get(reference))
        except (ImportError, AttributeError) as error:
            raise UnspoolError(MISSING.format(error)) from None
        keep_to(1)
    return _contents[key]


def keep_to(threads: int) -> None:
    """torch, the engine and BLAS take so many threads in this process from now on."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)
