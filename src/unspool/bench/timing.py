"""Medians of interleaved rounds."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from unspool import _native

Runner = Callable[[int], float]  # runs so many times; seconds of one

BURST = 0.005  # seconds: shorter runs are repeated within a round, so that the clock and the scheduler matter less


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: the median of the rounds, their quartiles, and how many rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        ordered = sorted(seconds)
        quarter = (len(ordered) - 1) / 4
        low, high = ordered[math.floor(quarter)], ordered[math.ceil(3 * quarter)]
        return cls(statistics.median(ordered), low, high, len(ordered))


def runner(call: Callable[[], object]) -> Runner:
    """`call` as a runner: so many calls in a row, timed in this process."""

    def run(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start) / times

    return run


def interleave(
    runs: Mapping[str, Runner], seconds: float, rounds: int = 15, least: int = 3
) -> dict[str, Timing]:
    """Run every competitor in turn, round after round, so that a slow minute of the machine falls on all.

    seconds: for all of them together, once each has had `least` rounds. A competitor that has had its share
    of them sits out; the others go on, up to `rounds` rounds. The garbage collector waits meanwhile.
    """
    share = seconds / len(runs)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    times: dict[str, int] = {}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for name, run in runs.items():
            run(1)
            times[name] = max(1, min(1000, round(BURST / max(run(1), 1e-7))))
        for turn in range(max(rounds, least)):
            for name, run in runs.items():
                if turn < least or sum(taken[name]) * times[name] < share:
                    taken[name].append(run(times[name]))
    finally:
        if enabled:
            gc.enable()
    return {name: Timing.of(found) for name, found in taken.items()}


@dataclass(frozen=True)
class Measured:
    """timings: of each competitor, ours first; rate: our FLOP/s; peak: the machine's multiply-adds, FLOP/s."""

    timings: dict[str, Timing]
    rate: float
    peak: float

    def to_dict(self) -> dict[str, Any]:
        """As `told`, with our share of the peak."""
        share = {
            "gflops": self.rate / 1e9,
            "peak_gflops": self.peak / 1e9,
            "share_of_peak": self.rate / self.peak,
        }
        return {**told(self.timings), **share}


def told(timings: Mapping[str, Timing]) -> dict[str, Any]:
    """Milliseconds, their quartiles, rounds, and `ratios`: each other competitor's time divided by the first's."""
    first, *others = timings
    return {
        "ms": {name: 1e3 * t.median for name, t in timings.items()},
        "quartiles": {name: [1e3 * t.low, 1e3 * t.high] for name, t in timings.items()},
        "rounds": {name: t.rounds for name, t in timings.items()},
        "ratios": {name: timings[name].median / timings[first].median for name in others},
    }


def measure(runs: Mapping[str, Runner], operations: float, seconds: float, rounds: int = 15) -> Measured:
    """`interleave`, with the peak of torch's number of threads measured just before and just after.

    operations: FLOP of one run.
    """
    threads = torch.get_num_threads()
    before = _native.peak_flops(0.05, threads)
    timings = interleave(runs, seconds, rounds)
    peak = max(before, _native.peak_flops(0.05, threads))
    return Measured(timings, operations / next(iter(timings.values())).median, peak)
