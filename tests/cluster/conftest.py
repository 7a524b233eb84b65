"""A Ray cluster of two nodes with one processor each on this machine, started once and on the loopback address only."""

from __future__ import annotations

import os
import signal
import time

import pytest

from . import work

LONG = (
    *("test_the_example", "test_an_error_in_a_late_piece", "test_a_search_for_settings"),
    *("test_texts_to_texts", "test_as_on_one_machine", "test_a_node_is_killed_in_a_pool"),
    *("test_a_call_that_is_lost_again_and_again", "test_a_call_that_its_node_ended_early_is_made_again"),
)


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/cluster/" in str(item.path) and item.name in LONG and not os.environ.get("UNSPOOL_CLUSTER"):
            item.add_marker(pytest.mark.skip(reason="a minute of processors: UNSPOOL_CLUSTER=all runs it"))
        if "tests/cluster/" in str(item.path):
            item.add_marker(pytest.mark.xdist_group("cluster"))  # one process, one cluster


class TwoNodes:
    """The head, where the tests themselves are connected, and `second`, which may be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # memory: so small that Ray's arithmetic does not depend on the machine
        self.options = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 150_000_000}
        # Every 3 seconds by default: a node that was killed would be missed after 15.
        checks = {"health_check_period_ms": 300, "health_check_initial_delay_ms": 300}
        head = {**self.options, "include_dashboard": False, "_system_config": checks}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.second = None
        self.add()

    def add(self) -> None:
        """A second node, if there is none."""
        if self.second is None:
            self.second = self.cluster.add_node(**self.options)

    def kill(self) -> None:
        """The second node's processes end at once."""
        assert self.second is not None
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None


@pytest.fixture(scope="package")
def started():
    os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ["RAY_TQDM_PATCH_PRINT"] = "0"  # print stays Python's
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # read at import: loopback addresses alone
    ray = pytest.importorskip("ray")
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False  # where another test has imported it before
    ray.cloudpickle.register_pickle_by_value(work)  # the nodes cannot import the tests
    before = signal.getsignal(signal.SIGTERM)
    nodes = TwoNodes()
    try:
        ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
        yield nodes
    finally:
        ray.cloudpickle.unregister_pickle_by_value(work)
        ray.shutdown()
        nodes.cluster.shutdown()
        signal.signal(signal.SIGTERM, before)  # Ray's own handler would stay


@pytest.fixture
def nodes(started):
    """Two nodes that are alive; those that were killed are known to be gone."""
    import ray

    started.add()
    until = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) != 2 and time.monotonic() < until:
        time.sleep(0.1)
    return started
