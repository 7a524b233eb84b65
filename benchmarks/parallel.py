"""A training by two ranks of one thread each beside one of one thread: how much faster, and what summing takes.

    python benchmarks/parallel.py                     # some minutes; benchmarks/results/parallel.json
    python benchmarks/parallel.py --units 256 --batches 32 128 --rounds 5

Texts of 1 to 150 tokens, mean 75, of a vocabulary of 10,000; a bidirectional LSTM, embedding 100, averaged weights: the
default network of the estimators at --units. The mark: 1.6 times at 256 units.

Wall time needs two idle cores. Beside it stands the ratio of processor times, of one rank's step to the busier of two
ranks', which is what the wall ratio comes to where no rank waits for a core; --steps and --rounds make both steadier.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from peers.record import save, setting

from unspool import Ragged
from unspool.estimators.network import SequenceNetwork
from unspool.training import Callback, SequenceData, Settings, Trainer, train
from unspool.training.parallel import Group, find

WORDS, LONGEST, WARM = 10_000, 150, 5


class Clock(Callback):
    """Wall and processor time of each step, and the share of summing gradients."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.wall: list[float] = []
        self.busy: list[float] = []
        self.before = (0.0, 0.0)
        self.summing = 0.0

    def on_batch_end(self, trainer: Trainer, batch: Any) -> None:
        """Also ends the training."""
        now = (time.perf_counter(), time.process_time())
        group = trainer.parallel
        if trainer.steps == WARM:
            self.summing = -group.seconds if isinstance(group, Group) else 0.0
        elif trainer.steps > WARM:
            self.wall.append(now[0] - self.before[0])
            self.busy.append(now[1] - self.before[1])
        self.before = now
        if trainer.steps == WARM + self.steps:
            self.summing += group.seconds if isinstance(group, Group) else 0.0
            raise KeyboardInterrupt


def work(units: int, batch: int, steps: int) -> dict[str, Any]:
    """This rank's seconds a step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths = torch.randint(1, LONGEST + 1, (batch * (steps + WARM + 1),))
    ids = torch.randint(1, WORDS, (int(lengths.sum()),))
    data = SequenceData(Ragged(ids, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])))
    data.targets = torch.randn(len(lengths), 1)
    network = SequenceNetwork(
        cell="lstm",
        vocabulary_size=WORDS,
        n_features=1,
        embedding_dim=100,
        hidden_size=units,
        num_layers=1,
        bidirectional=True,
        pooling="mean+max",
        dense=(),
        sparse_embedding=False,
        word_dropout=0.0,
        dropout=0.5,
        output_size=1,
        input_dropout=0.3,
    )
    settings = Settings(1, batch, 1e-3, 1e-4, 1.0, None, None, 0, average=0.99)
    clock = Clock(steps)
    train(network, lambda p, t, w: ((p - t) ** 2).mean(), data, None, settings, 0, [clock])
    return {
        "rank": find().rank,
        "wall": statistics.median(clock.wall),
        "busy": statistics.median(clock.busy),
        "summing": clock.summing / sum(clock.wall),
    }


def run(ranks: int, units: int, batch: int, steps: int) -> list[dict[str, Any]]:
    """What each rank says."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, __file__, "--work", "--units", str(units), "--batches", str(batch)]
    started = []
    for rank in range(ranks):
        of_rank = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
        variables = {
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
            **{k: str(v) for k, v in of_rank.items()},
        }
        started.append(
            subprocess.Popen(
                [*command, "--steps", str(steps)],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("A rank failed; its message stands above.")
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


def measure(units: int, batch: int, steps: int, rounds: int) -> dict[str, Any]:
    """The medians of rounds, each of one rank and then of two."""
    one, two, walls = [], [], []
    for number in range(1, rounds + 1):
        one.append(run(1, units, batch, steps)[0])
        two.append(run(2, units, batch, steps))
        walls.append(one[-1]["wall"] / max(r["wall"] for r in two[-1]))
        print(
            f"batch {batch}, round {number} of {rounds}: {walls[-1]:.2f} times, load {os.getloadavg()[0]:.1f}"
        )
    median = statistics.median
    busy_one, busy_two = median(r["busy"] for r in one), median(max(r["busy"] for r in pair) for pair in two)
    return {
        "units": units,
        "batch": batch,
        "milliseconds_one": 1e3 * median(r["wall"] for r in one),
        "milliseconds_two": 1e3 * median(max(r["wall"] for r in pair) for pair in two),
        "wall_ratio": median(walls),
        "wall_ratios": walls,
        "processor_milliseconds": [1e3 * busy_one, 1e3 * busy_two],
        "processor_ratio": busy_one / busy_two,
        "summing_share": median(min(r["summing"] for r in pair) for pair in two),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[32, 128], help="sequences of the whole batch"
    )
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(arguments.units, arguments.batches[0], arguments.steps)))
        return
    before = setting()
    rows = [measure(arguments.units, batch, arguments.steps, arguments.rounds) for batch in arguments.batches]
    for row in rows:
        one, two = row["processor_milliseconds"]
        print(
            f"LSTM {row['units']}, both directions, batch {row['batch']}: one rank {row['milliseconds_one']:.0f} ms a "
            f"step, two {row['milliseconds_two']:.0f} ms, {row['wall_ratio']:.2f} times; processor time {one:.0f} and "
            f"{two:.0f} ms, {one / two:.2f} times; {row['summing_share']:.0%} of a step waits and sums"
        )
    save("parallel", {"rows": rows}, before)


if __name__ == "__main__":
    main()
