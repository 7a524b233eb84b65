"""Calls of one function on a cluster, side by side: one processor and one thread each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from unspool import __version__
from unspool.cluster.connection import Cluster
from unspool.errors import UnspoolError

RETRIES = 5  # of a call whose node or process was lost


class Pool:
    """`function(context, item)` for many items, wherever the cluster has a processor free.

    function: of a module that the nodes can import. context: sent to the cluster once, and unpacked once in each of
    its processes. jobs: calls at a time; None: as many as the cluster has processors at that moment.

    A call whose node is lost is made again elsewhere, so `function` must give the same whenever it is called. Errors of
    unspool are raised as they were; another version of unspool on a node is one. After use `calls` counts the calls
    that ended on each node, by its name, and `instructions` are the instruction sets of their processors.
    """

    def __init__(
        self, cluster: Cluster, function: Callable[[Any, Any], Any], context: Any, jobs: int | None = None
    ) -> None:
        from ray import cloudpickle

        self.cluster, self.limit = cluster, jobs
        self.calls: Counter[str] = Counter()
        self.instructions: set[str] = set()
        self._names = {node: name for node, (name, _) in cluster.nodes().items()}
        self._call = cluster.ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
        # In a list, so that a call is given the reference, not the content; as bytes, so that each process has a copy
        # of its own that it may write to.
        self._context = [cluster.ray.put(cloudpickle.dumps((function, context)))]
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
            node, instructions, result = self.cluster.ray.get(ref)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, UnspoolError):
                raise error.cause from None
            raise
        except (exceptions.RaySystemError, exceptions.RuntimeEnvSetupError) as error:
            raise UnspoolError(f"The cluster cannot make a call: {error}") from error
        except exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise UnspoolError(
                f"A process of the cluster was lost {RETRIES + 1} times at the same work ({reason}). Often it ran out "
                "of memory: use nodes with more of it for each processor, or smaller models."
            ) from error
        self._names |= (
            {} if node in self._names else {n: name for n, (name, _) in self.cluster.nodes().items()}
        )
        self.calls[self._names.get(node, node[:6])] += 1
        self.instructions.add(instructions)
        return result

    def summary(self) -> str:
        """Where the calls ended, and whether their last digits may differ from those of one machine."""
        each = ", ".join(f"{count} on {name}" for name, count in sorted(self.calls.items()))
        mixed = ""
        if len(self.instructions) > 1:
            mixed = (
                f" The nodes have different instruction sets ({', '.join(sorted(self.instructions))}), so last digits "
                "depend on which node a run was given to."
            )
        return f"Ran {each}.{mixed}" if each else ""


_contexts: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {}


def _call(version: str, held: list[Any], item: Any) -> tuple[str, str, Any]:
    """On a node: (its id, its instruction set, the result)."""
    import ray

    from unspool.engine import native

    if version != __version__:
        raise UnspoolError(
            f"A node has unspool {__version__}, and the study is started with {version}. Install the same on all nodes."
        )
    (reference,) = held
    if (key := reference.hex()) not in _contexts:
        _contexts.clear()
        _contexts[key] = ray.cloudpickle.loads(ray.get(reference))
        keep_to(1)
    function, context = _contexts[key]
    try:
        result = function(context, item)
    except KeyboardInterrupt:
        # The node is being shut down, and a training ended early: nothing is told of it, and the call is made again.
        os._exit(1)
    return ray.get_runtime_context().get_node_id(), native.info()["isa"], result


def keep_to(threads: int) -> None:
    """torch, the engine and BLAS take so many threads in this process from now on."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)
