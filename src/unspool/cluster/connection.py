"""The connection to a Ray cluster, and its nodes."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unspool.errors import UnspoolError, bad_parameter

INSTALL = "pip install 'unspool[cluster]'"
EXPECTED = "'auto' (the Ray cluster of this machine), 'local' (one started here), or its address HOST:PORT"
PATIENCE = 5.0  # seconds for the head of a cluster to answer


@dataclass(frozen=True)
class Cluster:
    """A connected Ray cluster. ray: the module."""

    ray: Any

    def nodes(self) -> dict[str, tuple[str, int]]:
        """Of each node that is alive and has processors: its id -> (its name, its processors)."""
        found = {}
        for node in self.ray.nodes():
            cpus = int(node["Resources"].get("CPU", 0))
            if node["Alive"] and cpus:
                found[node["NodeID"]] = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})", cpus
        return found

    def cpus(self) -> int:
        """Processors of all nodes that are alive now."""
        return sum(cpus for _, cpus in self.nodes().values())

    def __str__(self) -> str:
        nodes = self.nodes().values()
        each = ", ".join(f"{name} {cpus}" for name, cpus in nodes)
        total = sum(cpus for _, cpus in nodes)
        return f"Cluster: {len(nodes)} node{'s' * (len(nodes) != 1)}, {total} processor{'s' * (total != 1)}: {each}."


@contextmanager
def connected(address: str, cpus: int | None = None) -> Iterator[Cluster]:
    """The cluster at `address`; a connection made here ends with the block, as does a cluster started here.

    address: "auto": the cluster that this process or machine belongs to (`RAY_ADDRESS`, `ray start`, a submitted job);
        "local": one that is started on this machine with `cpus` processors, on the loopback address; HOST:PORT: of the
        head, from a machine that is a node of that cluster.

    Raises `InvalidParameterError` for any other address, `UnspoolError` without Ray and where no cluster answers.
    """
    check_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # print stays Python's
    if address == "local":
        # Read when Ray is imported, and by the processes it starts: with it Ray stays on the loopback address.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = import_ray()
    mine = not ray.is_initialized()
    handler = signal.getsignal(signal.SIGTERM)
    if mine:
        _connect(ray, address, cpus)
    elif address != "auto":
        raise UnspoolError(
            f"This process is connected to a Ray cluster already. To use it give cluster='auto'; for {address!r} call "
            "ray.shutdown() first."
        )
    try:
        yield Cluster(ray)
    finally:
        if mine:
            ray.shutdown()
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would stay


def import_ray() -> Any:
    """The module; `UnspoolError` where it is not installed."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UnspoolError(f"A cluster needs the package {error.name}: {INSTALL}.") from error
    return ray


def check_ready(address: Any) -> None:
    """The errors of `connected` that need no cluster to answer: for what is no address, and where Ray is missing."""
    check_address(address)
    import_ray()


def check_address(address: Any) -> None:
    """`InvalidParameterError` for what is no address of a cluster's head."""
    if isinstance(address, str) and address.startswith("ray://"):
        bad_parameter(
            "unspool",
            "cluster",
            EXPECTED,
            address,
            "The Ray client (ray://) is not supported: start the command on the cluster, with "
            "`ray job submit --address http://HEAD:8265 -- unspool ... --cluster auto`.",
        )
    if address in ("auto", "local"):
        return
    host, _, port = str(address).rpartition(":")
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if (
        not isinstance(address, str)
        or not host
        or "/" in host
        or bare
        or not re.fullmatch("[0-9]{1,5}", port)
    ):
        bad_parameter("unspool", "cluster", EXPECTED, address)


def _connect(ray: Any, address: str, cpus: int | None) -> None:
    options: dict[str, Any] = {"logging_level": "ERROR", "include_dashboard": False, "num_cpus": cpus}
    if address != "local":
        _check_answers(address)
        options = {"logging_level": "ERROR"}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnspoolError(
            f"Cannot connect to the Ray cluster {address!r}: {reason} The command must run on one of its nodes: start "
            "it there, or by `ray job submit`. 'local' starts a cluster on this machine."
        ) from error


def _check_answers(address: str) -> None:
    """`UnspoolError` where nothing listens at the cluster's head: Ray itself would try for ten minutes and more."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        head = canonicalize_bootstrap_address(address)  # for "auto" the address that Ray will take
    except ConnectionError:
        head = None
    if head is None:
        raise UnspoolError(
            "No Ray cluster is running on this machine, and RAY_ADDRESS names none. Start one with `ray start --head`, "
            "give its address as HOST:PORT, or 'local' for one that is started here."
        )
    host, _, port = head.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UnspoolError(
            f"No Ray cluster answers at {head} ({error}). Check the address (HOST:PORT of `ray start --head`, 6379 by "
            "default), or give 'local' for a cluster that is started here."
        ) from error
