"""What long runs leave behind: resident memory, descriptors and threads, over many steps and many models.

    python benchmarks/long_runs.py                  # all, some minutes; benchmarks/results/long_runs_*.json
    python benchmarks/long_runs.py --only steps     # one of them
    python benchmarks/long_runs.py --share 0.01     # a hundredth of each

training: 10,000 steps of a bidirectional LSTM on texts, the optimiser, averaging and validation with them.
steps: 1,000,000 calls of `step` of an LSTM 64, batch 1.
models: 5,000 times a stack made, called on a ragged batch, differentiated, frozen, stepped, and dropped; each fifth of
another cell. What is kept for a cell is kept once.
checkpoints: 2,000 checkpoints written and read.

Each is looked at eleven times, at equal distances; the first look is after the first tenth, when caches are full.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool import Ragged, SequenceRegressor, cells, nn
from unspool.training import Callback, checkpoint_file

LOOKS = 11


def look() -> dict[str, int]:
    """Resident bytes, open descriptors, threads of this process (Linux)."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "resident": resident,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def watched(turns: Iterator[None], count: int) -> list[dict[str, int]]:
    """What `look` finds while `turns` goes on, `count` times."""
    first = max(1, count // 10)
    at = {first + round(i * (count - first) / (LOOKS - 1)) for i in range(LOOKS)}
    found = []
    for number, _ in enumerate(turns, 1):
        if number in at:
            gc.collect()
            found.append(look())
    return found


class Step(Callback):
    """Looks between the steps of a training."""

    def __init__(self, count: int) -> None:
        self.found: list[dict[str, int]] = []
        self.seen = 0
        self.at = {max(1, count // 10) + round(i * (count - count // 10) / (LOOKS - 1)) for i in range(LOOKS)}

    def on_batch_end(self, trainer: Any, batch: Any) -> None:
        self.seen += 1
        if self.seen in self.at:
            gc.collect()
            self.found.append(look())


def training(count: int) -> list[dict[str, int]]:
    random = np.random.RandomState(0)
    words = [f"w{i}" for i in range(500)]
    texts = [" ".join(random.choice(words, random.randint(1, 40))) for _ in range(2222)]
    y = np.array([len(text) / 100 for text in texts])
    step = Step(count)
    model = SequenceRegressor(
        hidden_size=32,
        embedding_dim=32,
        batch_size=20,
        epochs=count // 100,
        blend=False,
        vectors=None,
        verbose=0,
    )
    model.set_params(random_state=0, patience=None, early_stopping=True)
    model.fit(texts, y, callbacks=[step])
    return step.found


def steps(count: int) -> list[dict[str, int]]:
    layer, x, state = nn.Recurrent(cells.LSTMCell(32, 64)), torch.randn(1, 32), None

    def turns() -> Iterator[None]:
        nonlocal state
        with torch.no_grad():
            for _ in range(count):
                state = layer.step(x, state)
                yield

    return watched(turns(), count)


def models(count: int) -> list[dict[str, int]]:
    kinds = ["lstm", "gru", "rnn", "lstm", "mgu"]
    data = [torch.randn(n, 8) for n in (3, 0, 7, 5)]

    def turns() -> Iterator[None]:
        for number in range(count):
            stack = nn.Stack(kinds[number % 5], 8, 12, 2, bidirectional=True)
            stack(Ragged.from_list(data))[0].values.sum().backward()
            one = nn.Recurrent(cells.registry[kinds[number % 5]](8, 12))
            with torch.no_grad():
                stack.freeze()(Ragged.from_list(data))
                one.step(torch.randn(2, 8))
            yield

    return watched(turns(), count)


def checkpoints(count: int) -> list[dict[str, int]]:
    state = {
        "network": {"a": torch.randn(200, 300), "b": torch.randn(300)},
        "history": [{"epoch": 1, "loss": 0.5}],
    }

    def turns() -> Iterator[None]:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(count):
                checkpoint_file.write(Path(folder) / "state", state)
                checkpoint_file.read(Path(folder) / "state")
                yield

    return watched(turns(), count)


MEASURES: dict[str, tuple[Callable[[int], list[dict[str, int]]], int]] = {
    "training": (training, 10_000),
    "steps": (steps, 1_000_000),
    "models": (models, 5_000),
    "checkpoints": (checkpoints, 2_000),
}


def summary(found: list[dict[str, int]]) -> dict[str, Any]:
    """At the first look, and how much more at the last; of the resident bytes also the largest growth of any."""
    first, last = found[0], found[-1]
    grown = {name: last[name] - first[name] for name in first}
    return {
        "first": first,
        "grown": grown,
        "largest": max(one["resident"] for one in found) - first["resident"],
    }


def main() -> None:
    from peers.record import save, setting

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(MEASURES), action="append")
    parser.add_argument("--share", type=float, default=1.0)
    given = parser.parse_args()
    print(
        f"{'':12} {'times':>9} {'seconds':>8} {'resident':>12} {'grown':>10} {'descriptors':>12} {'threads':>8}"
    )
    for name in given.only or MEASURES:
        measure, times = MEASURES[name]
        count, began, before = max(200, int(times * given.share)), time.monotonic(), setting()
        found = summary(measure(count))
        found |= {"times": count, "seconds": time.monotonic() - began}
        first, grown = found["first"], found["grown"]
        print(
            f"{name:12} {count:9,} {found['seconds']:8.1f} {first['resident'] / 2**20:8.1f} MiB "
            f"{grown['resident'] / 2**20:6.2f} MiB {first['descriptors']:4} {grown['descriptors']:+5} "
            f"{first['threads']:5} {grown['threads']:+d}",
            flush=True,
        )
        save(f"long_runs_{name}", found, before)


if __name__ == "__main__":
    sys.exit(main())
