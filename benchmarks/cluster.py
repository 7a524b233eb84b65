"""A study on a Ray cluster of two nodes with one core each, both on this machine, against `--jobs 2`.

    python benchmarks/cluster.py                      # twelve arrangements, five runs each, two rounds
    python benchmarks/cluster.py --rounds 1 --rows 1000 --epochs 2

Both are commands of their own, `unspool compare`, in turn and from the same table, with everything they start counted;
the cluster stands before. Prints seconds and processor seconds of each, their ratios, and whether the tables are equal.
The mark: at most 1.1 times the time of `--jobs 2`. Results go to benchmarks/results/cluster.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from peers.record import save, setting

WORTH = {"good": 1.0, "fine": 0.5, "dull": -0.5, "awful": -1.0}
MARK, TICKS = 1.1, os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--hidden-size", type=int, default=64)
    given = parser.parse_args()
    before = setting()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # loopback only
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 200_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "table.csv")
            reviews(given.rows).write_csv(table)
            ways = {"jobs 2": ["--jobs", "2"], "cluster": ["--cluster", cluster.address]}
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            tables = []
            for number in range(given.rounds):
                for way, options in ways.items():
                    out = Path(folder, f"{way} {number}")
                    found[way].append(timed(command(table, out, given, options)))
                    tables.append(timeless(out))
                    print(
                        f"{way}: {found[way][-1][0]:.1f} s, {found[way][-1][1]:.1f} processor s", flush=True
                    )
    finally:
        cluster.shutdown()
    middle = {way: [median(column) for column in zip(*times)] for way, times in found.items()}
    wall, cpu = (middle["cluster"][k] / middle["jobs 2"][k] for k in (0, 1))
    same = all(frame.equals(tables[0]) for frame in tables)
    print(f"cluster / jobs 2: time {wall:.2f} (mark {MARK}), processor time {cpu:.2f}; tables equal: {same}")
    print(f"load before {before['load_before']:.1f}, after {os.getloadavg()[0]:.1f}")
    save("cluster", {"times": found, "wall_ratio": wall, "cpu_ratio": cpu, "equal": same}, before)
    sys.exit(not same)


def reviews(rows: int) -> pl.DataFrame:
    """Texts of 5 to 40 words, and whether the sum of their words' worth is above 0."""
    random = np.random.default_rng(0)
    words = [*WORTH, *(f"word{k}" for k in range(300))]
    texts = [" ".join(random.choice(words, random.integers(5, 40))) for _ in range(rows)]
    mood = ["up" if sum(WORTH.get(w, 0.0) for w in text.split()) > 0 else "down" for text in texts]
    return pl.DataFrame({"text": texts, "mood": mood})


def command(table: Path, out: Path, given: argparse.Namespace, options: list[str]) -> list[str]:
    """The words of `unspool compare`."""
    settings = ["--epochs", str(given.epochs), "--hidden-size", str(given.hidden_size), "--no-drop-hopeless"]
    return [
        *(sys.executable, "-m", "unspool", "compare", str(table), "--input", "text", "--target", "mood"),
        *("--arrangements", "twelve", "--repeats", "5", "--quiet", "--out", str(out), *settings, *options),
    ]


def timed(words: list[str]) -> tuple[float, float]:
    """(seconds, processor seconds of all processes below this one meanwhile, Ray's among them; they are looked at every
    quarter of a second, so the last of a process that ends is missed)."""
    before, started = processes(), time.monotonic()
    spent: dict[int, float] = {}
    study = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while study.poll() is None:
        spent |= processes()
        time.sleep(0.25)
    if study.returncode:
        sys.exit(f"{' '.join(words)} ended with {study.returncode}.")
    seconds = time.monotonic() - started
    time.sleep(3)  # for the nodes to take leave of the processes of this study
    return seconds, sum(used - before.get(pid, 0.0) for pid, used in spent.items())


def processes() -> dict[int, float]:
    """The processor seconds of each process below this one."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            found[int(folder.name)] = int(words[1]), (int(words[11]) + int(words[12])) / TICKS
    below, grown = {os.getpid()}, 0
    while grown != len(below):
        grown = len(below)
        below |= {pid for pid, (parent, _) in found.items() if parent in below}
    return {pid: found[pid][1] for pid in below - {os.getpid()}}


def timeless(study: Path) -> pl.DataFrame:
    """Its table without times."""
    frame: Any = pl.read_csv(study / "table.csv")
    return frame.drop([name for name in frame.columns if "seconds" in name])


if __name__ == "__main__":
    main()
