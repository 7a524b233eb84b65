"""benchmarks/long_runs.py, a small part of each run: nothing grows, and a run that grows is seen."""

from __future__ import annotations

import gc
import importlib
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
COUNTS = {"training": 100, "steps": 5000, "models": 60, "checkpoints": 60}
ROOM = 24 * 2**20  # bytes; a heap of Python comes and goes by some MiB
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")


@pytest.fixture
def long_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(FOLDER)
    before, known = torch.get_num_threads(), set(sys.modules)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # what other tests left is not looked through at each look
    yield importlib.import_module("long_runs")
    gc.unfreeze()
    torch.set_num_threads(before)
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.mark.parametrize("name", COUNTS)
def test_nothing_grows(name: str, long_runs: Any) -> None:
    measure, _ = long_runs.MEASURES[name]
    found = measure(COUNTS[name])
    assert len(found) == long_runs.LOOKS
    grown = long_runs.summary(found)["grown"]
    assert grown["resident"] < ROOM and grown["descriptors"] == 0 and grown["threads"] == 0, grown


def test_what_grows_is_seen(long_runs: Any) -> None:
    kept: list[Any] = []

    def turns() -> Iterator[None]:
        for _ in range(50):
            pages = mmap.mmap(-1, 2**20)  # never what was freed before
            pages.write(b"x" * 2**20)
            kept.append((pages, open("/dev/null")))  # noqa: SIM115
            yield

    found = long_runs.summary(long_runs.watched(turns(), 50))
    for _, file in kept:
        file.close()
    assert found["grown"]["resident"] > ROOM and found["grown"]["descriptors"] == 45
