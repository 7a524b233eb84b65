"""Threads that wait give their core away where it is wanted: on a machine with fewer free cores than threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch  # noqa: F401  (brings OpenMP)

from unspool import _native

STEPS = """
import os, time
import torch
from unspool import _native, nn

torch.set_num_threads(2)
layer, x = nn.LSTM(64, 32, bidirectional=True, batch_first=True), torch.randn(16, 40, 64)
layer(x)
before = len(os.listdir("/proc/self/task"))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for task in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(task), {min(os.sched_getaffinity(0))})
for _ in range(100):
    layer(x)[0].sum().backward()
    if _native.waits_how().startswith("briefly"):
        break
end = time.monotonic() + 30
while (more := len(os.listdir("/proc/self/task")) - before) < 2 and "briefly" in _native.waits_how():
    assert time.monotonic() < end, "no parked team"
    time.sleep(0.01)
print(_native.waits_how())
print(more)
"""

on_gnu = pytest.mark.skipif(
    not sys.platform.startswith("linux") or (os.cpu_count() or 1) < 2 or "OpenMP" not in _native.threads_of(),
    reason="needs Linux, two cores and GNU's OpenMP",
)


def run(**environment: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env={**kept, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@on_gnu
def test_threads_that_wait_for_a_core_spin_briefly_from_then_on() -> None:
    how, more = run()
    assert how.startswith("briefly")
    assert int(more) > 1  # the parked team that makes OpenMP's threads more than the cores


@on_gnu
@pytest.mark.parametrize("setting", [{"GOMP_SPINCOUNT": "5000"}, {"OMP_WAIT_POLICY": "passive"}])
def test_what_the_environment_says_is_left_alone(setting: dict[str, str]) -> None:
    how, more = run(**setting)
    assert how.startswith("as GOMP_SPINCOUNT or OMP_WAIT_POLICY")
    assert int(more) <= 1  # autograd's own thread


@pytest.mark.parametrize("telling", [False, True])
def test_the_command_line_asks_for_a_short_spin_before_torch_and_ends_without_a_look_back(
    telling: bool,
) -> None:
    code = (
        "import onnx\n"
        * telling
        + "import atexit, gc, os, sys\nfrom unspool.cli import main\nsys.argv = ['unspool', '--version']\n"
        "say = lambda: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules, gc.get_freeze_count() > 10**4)\n"
        "atexit.register(say)\nmain()"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"1000 False {not telling}"
