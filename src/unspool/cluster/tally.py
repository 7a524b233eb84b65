"""Which nodes of a cluster did how much."""

from __future__ import annotations

from collections import Counter

from unspool.cluster.connection import Cluster
from unspool.engine import native


def here() -> tuple[str, str]:
    """In a task: the id of its node, and the instruction set of the engine there."""
    import ray

    return ray.get_runtime_context().get_node_id(), native.info()["isa"]


class Tally:
    """counts: pieces of work by the name of the node that did them; instructions: the sets of them that were used."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.counts: Counter[str] = Counter()
        self.instructions: set[str] = set()
        self._names: dict[str, str] = {}
        self._look()

    def _look(self) -> None:
        self._names |= {node: name for node, (name, _) in self.cluster.nodes().items()}

    def add(self, place: tuple[str, str]) -> None:
        """One more piece of work, done where `here` gave `place`."""
        node, instructions = place
        if node not in self._names:
            self._look()
        self.counts[self._names.get(node, node[:6])] += 1
        self.instructions.add(instructions)

    def __str__(self) -> str:
        """Where the work was done, and whether last digits may differ from those of one machine; empty without any."""
        each = ", ".join(f"{count} on {name}" for name, count in sorted(self.counts.items()))
        mixed = ""
        if len(self.instructions) > 1:
            mixed = (
                f" The nodes have different instruction sets ({', '.join(sorted(self.instructions))}), so last digits "
                "depend on which node did what."
            )
        return f"Ran {each}.{mixed}" if each else ""
