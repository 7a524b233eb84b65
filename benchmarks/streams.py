"""Streams: one step from Python, many sessions together, what sessions take, and a session that never ends.

    python benchmarks/streams.py                        # all, three minutes; benchmarks/results/streams_*.json
    python benchmarks/streams.py step pooled memory     # half a minute
    python benchmarks/streams.py ahead                  # sessions of both directions, in processor time
    python benchmarks/streams.py long --steps 1000000   # one session, so many steps

LSTM 64 with 64 features, float32. The marks: 100,000 live sessions in 200 MB, 150,000 steps a second pooled, one step
in 10 us, 10,000,000 steps on one session without growth.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from layers import versions
from peers.record import save, setting
from sweeps import without_gradients

from unspool.bench import interleave, runner
from unspool.cells import LSTMCell
from unspool.nn import Recurrent
from unspool.streaming import LookAheadPool, LookAheadStream, Stream, StreamPool, stream_model

UNITS = FEATURES = 64
PAGE = resource.getpagesize()


def resident() -> float:
    """MB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def layer() -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(LSTMCell(FEATURES, UNITS)).eval()


def step() -> list[dict[str, Any]]:
    """One step of one session, from Python, in microseconds."""
    made = layer()
    stream, frozen, peer = Stream(made), made.freeze(), torch.nn.LSTMCell(FEATURES, UNITS)
    array = np.random.default_rng(0).standard_normal(FEATURES).astype(np.float32)
    x = torch.from_numpy(array)[None]
    state = made.initial_state(1)
    runs = {
        "Stream.push": runner(lambda: stream.push(array)),
        "frozen layer.step": without_gradients(lambda: frozen.step(x, state)),
        "torch.nn.LSTMCell": without_gradients(lambda: peer(x, state)),
    }
    found = interleave(runs, 6.0, rounds=60)
    return [_row(f"one step, {name}", 1e6 * timing.median, "us") for name, timing in found.items()]


def pooled() -> list[dict[str, Any]]:
    """Steps a second of many sessions, a step each at every push."""
    model, rows = stream_model(layer()), []
    for count in (1, 10, 100, 1000, 10000):
        pool, keys = StreamPool(model, capacity=count), [f"session {i}" for i in range(count)]
        x = np.random.default_rng(0).standard_normal((count, FEATURES)).astype(np.float32)
        chunks = dict(zip(keys, x))
        runs = {
            "keys and rows": runner(lambda pool=pool, keys=keys, x=x: pool.push(keys, x)),
            "a dict": runner(lambda pool=pool, chunks=chunks: pool.push(chunks)),
        }
        for name, timing in interleave(runs, 3.0, rounds=30).items():
            rows.append(_row(f"{count:,} sessions, {name}", count / timing.median, "steps/s"))
    return rows


def ahead() -> list[dict[str, Any]]:
    """Processor time of a step of 1,000 sessions of an LSTM of both directions, a step each at every push."""
    torch.manual_seed(0)
    made, count, rows = Recurrent(LSTMCell(FEATURES, UNITS), bidirectional=True).eval(), 1000, []
    x = np.random.default_rng(0).standard_normal((count, FEATURES)).astype(np.float32)
    for look_ahead in (0, 8):
        pool, alone = LookAheadPool(made, look_ahead, count), LookAheadStream(made, look_ahead)
        for name, run, each in (
            ("a pool", lambda pool=pool: pool.push(dict(enumerate(x))), count),
            ("alone", lambda alone=alone: [alone.push(x[i]) for i in range(50)], 50),
        ):
            times = []
            for _ in range(2 * look_ahead + 20):
                begun = time.process_time()
                run()
                times.append((time.process_time() - begun) / each)
            typical = 1e6 * float(np.median(times[2 * look_ahead + 5 :]))
            rows.append(_row(f"look-ahead {look_ahead}, {name}", typical, "us of a processor a step"))
    return rows


def memory() -> list[dict[str, Any]]:
    """What 100,000 sessions take, with their keys."""
    count, some = 100_000, 1000
    model = stream_model(layer())
    x = np.zeros((some, FEATURES), np.float32)
    StreamPool(model, capacity=some).push([*range(some)], x)
    before = resident()
    pool = StreamPool(model, capacity=count)
    for first in range(0, count, some):
        pool.push([f"session {i}" for i in range(first, first + some)], x)
    assert len(pool) == count
    return [_row(f"{count:,} sessions", resident() - before, "MB")]


def long(steps: int) -> list[dict[str, Any]]:
    """Memory while one session gets so many steps, one a push."""
    stream = Stream(layer())
    x = np.random.default_rng(0).standard_normal((1000, FEATURES)).astype(np.float32)
    rows, start, last = [], time.perf_counter(), None
    for number in range(1, steps + 1):
        last = stream.push(x[number % 1000])
        if number in (10_000, steps // 4, steps // 2, steps):
            rows.append(_row(f"in memory after {number:,} steps", resident(), "MB"))
    assert last is not None and np.isfinite(last).all() and stream.steps == steps
    rows.append(_row("a step, on average", 1e6 * (time.perf_counter() - start) / steps, "us"))
    return rows


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    print(f"{name:44} {value:12,.1f} {unit}", flush=True)
    return {"name": name, "value": value, "unit": unit}


PARTS = ("step", "pooled", "ahead", "memory", "long")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--steps", type=int, default=10_000_000, help="of the part long")
    args = parser.parse_args()
    parts = {"step": step, "pooled": pooled, "ahead": ahead, "memory": memory}
    for name in args.parts or PARTS:
        before = setting()
        rows = long(args.steps) if name == "long" else parts[name]()
        content = {"versions": versions(), "threads": torch.get_num_threads(), "rows": rows}
        save(f"streams_{name}", content, before)


if __name__ == "__main__":
    main()
