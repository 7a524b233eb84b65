"""Fails when a cell falls back to the plain loop, or loses a third of its speed.

    python benchmarks/guard.py             # about two minutes; exit code 1 and a line for each loss
    python benchmarks/guard.py --record    # this machine's figures become the baseline, benchmarks/guard.json

1. Every registered cell runs natively, in one direction and in both.
2. Instructions of one small step of each case, counted by valgrind where it is installed, so a busy machine does
   not matter. Valgrind has no AVX-512: it sees the plans, tapes and Python, but not the AVX-512 kernels.
3. Ratios to torch (to the plain loop where torch has no such cell) in one run. A ratio that is lost is measured
   a second time before it counts.

The baseline is kept for each instruction set.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from grid import BOTH_RAGGED, GRID, cases
from peers.record import ROOT

from unspool import Ragged, _native, cells, explain_path
from unspool.bench import Case, competitors, interleave, runner, work
from unspool.nn import Recurrent

BASELINE = ROOT / "benchmarks" / "guard.json"
LOSS = 1 / 3  # of the speed, or that many more instructions
COUNTED = [
    case.but(features=16, length=15)
    for case in (
        *cases(GRID, (32,), [BOTH_RAGGED], ["training"], [4]),
        Case("lstm", 32, "dense", 1, "forward", 1),
    )
]
TIMED = [
    *cases(GRID, (64,), [BOTH_RAGGED], ["training"], [32]),
    *cases(["lstm", "gru"], (256,), [BOTH_RAGGED], ["training"], [32]),
    *cases(["lstm", "gru"], (64,), [("dense", 1)], ["forward"], [32]),
    Case("lstm", 64, "dense", 1, "forward", 1),
]

Figures = dict[str, dict[str, float]]  # instruction set -> case -> figure


def layer_of(case: Case) -> tuple[Recurrent, Ragged]:
    """The layer as a user gets it, and its input."""
    layer = Recurrent(cells.get(case.cell)(case.features, case.hidden), bidirectional=case.directions == 2)
    return layer, Ragged.from_padded(case.padded(), case.lengths())


def paths() -> list[str]:
    """A line for each registered cell that does not run natively."""
    found = []
    for name in cells.names():
        for directions in (1, 2):
            layer, x = layer_of(Case(name, 8, "ragged", directions, batch=3, features=5, length=7))
            path = explain_path(layer, x)
            if path != "native":
                found.append(f"{name}, {directions} direction(s): runs as {path!r}, not natively")
    return found


def count() -> None:
    """Inside valgrind: one dump of callgrind for each case."""
    torch.set_num_threads(1)
    print(_native.isa(), flush=True)

    def control(*arguments: str) -> None:
        command = ["callgrind_control", *arguments, str(os.getpid())]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    gc.disable()
    for case in COUNTED:
        torch.manual_seed(0)
        run = work(case.work, *layer_of(case))
        run()
        run()
        control("--instr=on")
        run()
        control("--instr=off")
        control("--dump")


def instructions() -> tuple[str, dict[str, float]] | None:
    """The instruction set that valgrind offers, and each case's instructions; None where there is no valgrind."""
    if shutil.which("valgrind") is None or shutil.which("callgrind_control") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "count"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        command += [sys.executable, __file__, "--count"]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"Counting instructions failed (exit code {done.returncode}):\n{done.stderr}")
        dumps = [Path(f"{out}.{n}").read_text() for n in range(1, len(COUNTED) + 1)]
    totals = [int(re.search(r"^totals: (\d+)$", d, re.M).group(1)) for d in dumps]  # type: ignore[union-attr]
    if not all(totals):
        raise SystemExit(f"Counting instructions failed: valgrind counted {totals}.")
    return done.stdout.strip(), {str(case): float(n) for case, n in zip(COUNTED, totals)}


def ratio_of(case: Case) -> float:
    """The peer's time divided by ours: torch packed where the batch is ragged, or the plain loop."""
    layer, x = layer_of(case)
    runs = competitors(case, plain_loop=False)
    if len(runs) == 1:
        runs = competitors(case)
    runs["unspool"] = runner(work(case.work, layer, x))
    times = interleave(runs, 1.0)
    return times[list(runs)[-1]].median / times["unspool"].median


def more_instructions(found: dict[str, float], baseline: dict[str, float]) -> list[str]:
    """A line for each case that takes a third more instructions than the baseline."""
    return [
        f"{case}: {n:,.0f} instructions, {n / baseline[case]:.2f} times the baseline's {baseline[case]:,.0f}"
        for case, n in found.items()
        if case in baseline and n > (1 + LOSS) * baseline[case]
    ]


def lost_ratios(found: dict[str, float], baseline: dict[str, float]) -> list[str]:
    """A line for each case whose ratio is a third below the baseline's."""
    return [
        f"{case}: ratio {ratio:.2f}, the baseline has {baseline[case]:.2f}"
        for case, ratio in found.items()
        if case in baseline and ratio < (1 - LOSS) * baseline[case]
    ]


def timed(baseline: dict[str, float]) -> dict[str, float]:
    """Every ratio; one that is lost is measured again, and the better of both counts."""
    found = {}
    for case in TIMED:
        ratio = ratio_of(case)
        if lost_ratios({str(case): ratio}, baseline):
            ratio = max(ratio, ratio_of(case))
        found[str(case)] = ratio
        told = f"baseline {baseline[str(case)]:.2f}" if str(case) in baseline else "no baseline"
        print(f"{case!s:66} ratio {ratio:6.2f}  {told}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="store this machine's figures as the baseline")
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count:
        count()
        return
    stored: dict[str, Figures] = {"instructions": {}, "ratios": {}}
    if BASELINE.exists():
        stored = json.loads(BASELINE.read_text())
    problems = paths()
    print(f"{len(cells.names())} registered cells, {len(problems)} times not native")
    isa = _native.isa()
    found: dict[str, Any] = {"ratios": (isa, timed(stored["ratios"].get(isa, {})))}
    counted = instructions()
    if counted is None:
        print("instructions: not counted, there is no valgrind here")
    else:
        found["instructions"] = counted
    for kind, compare in (("instructions", more_instructions), ("ratios", lost_ratios)):
        if kind not in found:
            continue
        name, figures = found[kind]
        if not args.record and name not in stored[kind]:
            print(f"{kind}: no baseline for {name} yet; make one with --record")
        problems += [] if args.record else compare(figures, stored[kind].get(name, {}))
        stored[kind][name] = figures if args.record else stored[kind].get(name, {})
    for case, n in (counted or ("", {}))[1].items():
        print(f"{case:66} {n:13,.0f} instructions")
    if args.record and not problems:
        BASELINE.write_text(json.dumps(stored, indent=1) + "\n")
        print(f"wrote {BASELINE.relative_to(ROOT)}")
    for problem in problems:
        print(f"LOST: {problem}", file=sys.stderr)
    if problems:
        raise SystemExit(1)
    print("nothing lost")


if __name__ == "__main__":
    main()
