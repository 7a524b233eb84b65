"""`make fuzz`: changed files for every loader, for an hour. See `--help`.

Each target runs in processes of its own, so that a crash is a fault and not the end. A fault is shown with the number
of its case: `python -m tests.fuzz --only models --first 4711 --cases 1` does it again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BATCH = 60.0  # seconds of one process
sys.path[:0] = [str(ROOT / "tests")]


def main() -> int:
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--only", choices=list(TARGETS), action="append", help="this target; repeat it")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=10**9, help="of each target, at most")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=BATCH, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return work(given)
    names = given.only or list(TARGETS)
    each = given.minutes * 60 / len(names)
    faults = 0
    for name in names:
        found = fuzz(name, given.first, given.cases, each)
        faults += len(found["faults"])
        print(
            f"{name}: {found['cases']:,} cases, {found['right']:,} right, {found['refused']:,} refused, "
            f"{found['lost']:,} lost, {len(found['faults'])} faults; the slowest {found['slowest']:.1f} s, grown by "
            f"{found['grown'] / 2**20:,.0f} MiB at most",
            flush=True,
        )
        for number, what in found["faults"][:20]:
            print(f"  case {number}: {what}", flush=True)
    return 1 if faults else 0


def fuzz(name: str, first: int, cases: int, seconds: float) -> dict[str, Any]:
    """A target in processes of about `BATCH` seconds; the sums over them."""
    total: dict[str, Any] = {
        "cases": 0,
        "right": 0,
        "refused": 0,
        "lost": 0,
        "slowest": 0.0,
        "grown": 0,
        "faults": [],
    }
    end, last = time.monotonic() + seconds, first + cases
    while first < last and time.monotonic() < end:
        with tempfile.NamedTemporaryFile("r") as mark:
            left = min(BATCH, max(1.0, end - time.monotonic()))
            call = [sys.executable, "-m", "tests.fuzz", "--worker", mark.name, "--only", name]
            call += ["--first", str(first), "--cases", str(last - first), "--seconds", str(left)]
            try:
                done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=left + 300)
                code, lines, said = done.returncode, done.stdout.splitlines(), done.stderr
            except subprocess.TimeoutExpired:
                code, lines, said = -1, [], "no answer"
            at = int(mark.read() or first)
        if code or not lines:
            total["faults"].append((at, f"the process ended with {code}: {said.strip()[-200:]}"))
            total["cases"] += at - first + 1
            total["lost"] += at - first + 1  # what became of those before it went with the process
            first = at + 1
            continue
        found = json.loads(lines[-1])
        first += found["cases"]
        for key in ("cases", "right", "refused", "faults"):
            total[key] += found[key]
        for key in ("slowest", "grown"):
            total[key] = max(total[key], found[key])
    return total


def work(given: argparse.Namespace) -> int:
    """Of one process: its sums as a line of JSON."""
    from fuzz.running import run

    mark = open(given.worker, "w")  # noqa: SIM115

    def started(number: int) -> None:
        mark.seek(0)
        mark.write(str(number))
        mark.flush()

    outcome = run(given.only[0], given.first, given.cases, time.monotonic() + given.seconds, started)
    print(json.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
