"""What grows with what: unit costs measured on this machine, and what they make of a billion rows.

    python benchmarks/scale.py                  # all four, about two minutes; benchmarks/results/scale_*.json
    python benchmarks/scale.py sessions         # a million live sessions, really made

Each part measures at two sizes, shows that the cost a piece is the same at both, and multiplies. What is multiplied is
named "projected"; everything else is measured. docs/scale.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from layers import versions
from peers.record import save, setting
from streams import layer, resident

from unspool import SequenceRegressor, nn
from unspool.streaming import StreamPool, stream_model
from unspool.study.jobs import Job, Run
from unspool.study.statistics import compare_with_best, hopeless
from unspool.study.store import Store

BILLION = 1_000_000_000


def rows() -> list[dict[str, Any]]:
    """`unspool predict` over tables of two sizes: seconds and bytes a row, and a process's memory."""
    random, found = np.random.default_rng(0), []
    words = np.array(["word" + chr(97 + k % 26) * (1 + k % 5) + str(k) for k in range(2000)])
    texts = [" ".join(words[random.zipf(1.3, 10) % len(words)]) for _ in range(40_000)]
    model = SequenceRegressor(epochs=1, hidden_size=64, random_state=0, verbose=0)
    model.fit(texts[:2000], random.normal(size=2000))
    with tempfile.TemporaryDirectory() as place:
        model.save(f"{place}/model")
        cost = []
        for count in (100_000, 300_000):
            table, out = Path(place, f"{count}.csv"), Path(place, f"{count} predicted.csv")
            pl.DataFrame({"text": [texts[k % len(texts)] for k in range(count)]}).write_csv(table)
            command = [sys.executable, "-m", "unspool", "predict", f"{place}/model", str(table)]
            code = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
                "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
            )
            ran = subprocess.run(
                [sys.executable, "-c", code, *command, "--input", "text", "--out", str(out)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            seconds, memory = map(float, ran.stdout.split())
            cost.append(seconds)
            found.append(_row(f"{count:,} short texts, processor time", seconds, "s"))
            found.append(_row(f"{count:,} short texts, largest memory", memory / 1000, "MB"))
            found.append(_row(f"{count:,} short texts, bytes written a row", out.stat().st_size / count, "B"))
        each = (cost[1] - cost[0]) / 200_000
        found.append(_row("a row more", 1e6 * each, "us"))
        found.append(_row("projected: 10^9 rows, core hours", each * BILLION / 3600, "h"))
        found.append(_row("projected: 10^9 rows, bytes written", found[-4]["value"] * BILLION / 1e9, "GB"))
    return found


def studies() -> list[dict[str, Any]]:
    """The driver of many runs: a file for each, read again at a resume, and the statistics over all pairs."""
    found = []
    run = Run("lstm", 0, 0, 1, 128, {"r2": 0.5, "rmse": 0.1}, None, 10_000, 5_000, 9.0, 8.0, 1.0, 5)
    history = [{"train_loss": 0.5 / k, "valid_loss": 0.6 / k, "seconds": 1.0} for k in range(1, 11)]
    content = asdict(run) | {"history": history}
    with tempfile.TemporaryDirectory() as place:
        for count in (2_000, 10_000):
            folder = Path(place, str(count))
            store, start = Store(folder, {"study": count}), time.perf_counter()
            for repeat in range(count):
                store.add(Job(None, 128, repeat, 0), [Run(**content)])
            written = time.perf_counter() - start
            start = time.perf_counter()
            assert len(Store(folder, {"study": count}).runs) == count
            read = time.perf_counter() - start
            size = sum(path.stat().st_size for path in (folder / "runs").iterdir()) / count
            found.append(_row(f"{count:,} runs kept, a run", 1e3 * written / count, "ms"))
            found.append(_row(f"{count:,} runs read at a resume, a run", 1e3 * read / count, "ms"))
            found.append(_row(f"{count:,} runs, bytes a run", size, "B"))
        found.append(_row("projected: 10^5 runs kept", found[-3]["value"] * 100, "s"))
        found.append(_row("projected: 10^5 runs read at a resume", found[-3]["value"] * 100, "s"))
    for count in (100, 1000):
        scores = np.random.default_rng(0).normal(size=(count, 5))
        for name, work in (("tests of all pairs", lambda x: compare_with_best(x, 0)), ("dropping", hopeless)):
            start = time.perf_counter()
            work(scores)
            found.append(_row(f"{count:,} arrangements, {name}", time.perf_counter() - start, "s"))
    return found


def sessions() -> list[dict[str, Any]]:
    """A million live sessions of an LSTM of 64 units, each stepped: memory and steps a second."""
    model, some, found = stream_model(layer()), 10_000, []
    x = np.random.default_rng(0).standard_normal((some, 64)).astype(np.float32)
    StreamPool(model, capacity=some).push([*range(some)], x)
    for count in (100_000, 1_000_000):
        before = resident()
        pool = StreamPool(model, capacity=count)
        for first in range(0, count, some):
            pool.push(range(first, first + some), x)
        assert len(pool) == count
        found.append(_row(f"{count:,} sessions, memory", resident() - before, "MB"))
        start = time.perf_counter()
        for first in range(0, count, some):
            pool.push(range(first, first + some), x)
        seconds = time.perf_counter() - start
        found.append(_row(f"{count:,} sessions, a step of each", seconds, "s"))
        found.append(_row(f"{count:,} sessions, steps a second", count / seconds, "steps/s"))
        del pool
    return found


def ranks() -> list[dict[str, Any]]:
    """One training step against the bytes that ranks exchange in it: what a network must carry."""
    found = []
    for units in (64, 256, 1024):
        torch.manual_seed(0)
        net = nn.LSTM(units, units)
        numbers = sum(p.numel() for p in net.parameters())
        x = torch.randn(50, 16, units)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            net(x)[0].sum().backward()
            times.append(time.perf_counter() - start)
        step, exchanged = (
            float(np.median(times)),
            2 * 4 * numbers,
        )  # a ring sends and receives all gradients twice
        found.append(_row(f"LSTM {units}, 16 sequences of 50 a rank: a step", 1e3 * step, "ms"))
        found.append(_row(f"LSTM {units}: exchanged a step and rank", exchanged / 1e6, "MB"))
        found.append(
            _row(f"LSTM {units}: projected network that doubles a step", exchanged * 8 / step / 1e9, "Gbit/s")
        )
    return found


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    print(f"{name:60} {value:14,.2f} {unit}", flush=True)
    return {"name": name, "value": value, "unit": unit}


PARTS = {"rows": rows, "studies": studies, "sessions": sessions, "ranks": ranks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART", help=", ".join(PARTS)
    )
    for name in parser.parse_args().parts or PARTS:
        before = setting()
        content = {"versions": versions(), "threads": torch.get_num_threads(), "rows": PARTS[name]()}
        save(f"scale_{name}", content, before)
    print(
        json.dumps(
            {"largest memory of this process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}
        )
    )


if __name__ == "__main__":
    main()
