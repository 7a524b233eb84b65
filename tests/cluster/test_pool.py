"""Calls on two nodes: threads, the context, errors, and nodes that are lost."""

from __future__ import annotations

import sys
import threading
import time
import types

import pytest

from unspool.cluster import Pool, connected, pool
from unspool.errors import DataError, UnspoolError

from . import work


@pytest.fixture
def cluster(nodes):
    with connected("auto") as cluster:
        yield cluster


def results(cluster, function, context, items, **options):
    calls = Pool(cluster, function, context, **options)
    return [result for _, result in calls.run(iter(items))], calls


def test_nodes_and_threads(cluster):
    assert str(cluster).startswith("Cluster: 2 nodes, 2 processors: 127.0.0.1 (")
    found, calls = results(cluster, work.threads, None, range(4))
    assert {(torch, omp) for torch, _, omp, _ in found} == {(1, "1")}
    assert all(pools == {1} for _, pools, _, _ in found)
    assert sum(calls.tally.counts.values()) == 4 and calls.jobs == 2
    assert str(calls.tally).startswith("Ran ") and "instruction sets" not in str(calls.tally)
    calls.tally.add(("of a node that is gone", "another"))
    assert "1 on of a n" in str(calls.tally) and "different instruction sets" in str(calls.tally)


def test_the_context_is_unpacked_once_a_process(cluster):
    found, calls = results(cluster, work.unpacked, work.Counted(), range(8))
    assert len(calls.tally.counts) == 2 and len({process for process, _ in found}) == 2
    assert {times for _, times in found} == {1}


def test_as_many_at_a_time_as_asked_for(cluster):
    asked = []

    def items():
        for number in range(4):
            asked.append(number)
            yield 0, number

    running = Pool(cluster, work.told, "/nowhere", jobs=1)
    with pytest.raises(FileNotFoundError):
        next(running.run(items()))
    assert asked == [0]


def test_errors_of_ours_come_as_they_were(cluster):
    with pytest.raises(DataError, match=r"^Row 7 has no text\.$"):
        results(cluster, work.fails, None, [0])


def test_what_a_node_cannot_import(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "of_this_machine_alone", types.ModuleType("of_this_machine_alone"))
    cell = type("Cell", (), {"__module__": "of_this_machine_alone"})
    sys.modules["of_this_machine_alone"].Cell = cell
    with pytest.raises(
        UnspoolError, match=r"A node cannot import what the work needs: .*of_this_machine_alone"
    ):
        results(cluster, work.threads, cell, [0])


def test_another_version_on_a_node(cluster, monkeypatch):
    monkeypatch.setattr(pool, "__version__", "0.0.7")
    with pytest.raises(UnspoolError, match=r"A node has unspool .*, and .* is started with 0\.0\.7"):
        results(cluster, work.fails, None, [0])


def test_a_call_that_its_node_ended_early_is_made_again(cluster, tmp_path):
    assert results(cluster, work.leaves, str(tmp_path), [0])[0] == ["done"]


def test_a_call_that_is_lost_again_and_again(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "RETRIES", 0)
    with pytest.raises(UnspoolError, match="lost 1 times at the same work"):
        results(cluster, work.leaves, str(tmp_path), [0])


def test_a_node_is_killed_in_a_pool(nodes, cluster, tmp_path):
    def kill_once_both_work():
        until = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        nodes.kill()

    killer = threading.Thread(target=kill_once_both_work)
    killer.start()
    calls = Pool(cluster, work.told, str(tmp_path))
    found = {item[1]: result for item, result in calls.run(iter([(1.5, number) for number in range(4)]))}
    killer.join()
    assert found == {number: 2 * number for number in range(4)} and sum(calls.tally.counts.values()) == 4
    begun = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert len(begun) == 5 and set(begun) == set("0123")  # one was begun again
