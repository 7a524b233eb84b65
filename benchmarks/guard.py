"""Fails when a cell falls back to the plain loop, or loses a third of its speed.

    python benchmarks/guard.py             # half a minute; exit code 1 and a line for each loss
    python benchmarks/guard.py --record    # this machine's figures become the baseline, benchmarks/guard.json

1. Every registered cell runs natively, in one direction, in both, and as one `.step`.
2. Ratios to torch (to the plain loop where torch has no such cell; of narrow weights to float32), both measured in
   turns in one run, on one thread: with two, a busy machine makes torch up to ten times slower. A ratio that is lost
   is measured a second time before it counts.

The baseline is kept for each instruction set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

import torch
from grid import BOTH_RAGGED, GRID, cases
from peers.record import ROOT
from sweeps import runs_natively, steps

from unspool import Ragged, _native, cells, explain_path
from unspool.bench import Case, competitors, interleave, runner, work
from unspool.bench.competitors import TORCH
from unspool.nn import Recurrent

BASELINE = ROOT / "benchmarks" / "guard.json"
LOSS = 1 / 3  # of the speed
TIMED = [
    *cases(GRID, (64,), [BOTH_RAGGED], ["training"], [32]),
    *cases(["lstm", "gru"], (256,), [BOTH_RAGGED], ["training"], [32]),
    *cases(["lstm", "gru"], (64,), [("dense", 1)], ["forward"], [32]),
    Case("lstm", 64, "dense", 1, "forward", 1),
]


def paths() -> list[str]:
    """A line for each registered cell that does not run natively."""
    found = []
    for name in cells.names():
        for both in (False, True):
            case = Case(name, 8, "ragged", 1 + both, batch=3, features=5, length=7)
            layer = Recurrent(cells.get(name)(case.features, case.hidden), bidirectional=both)
            path = explain_path(layer, Ragged.from_padded(case.padded(), case.lengths()))
            if path != "native":
                found.append(f"{name}, {1 + both} direction(s): runs as {path!r}, not natively")
        with torch.no_grad():
            layer = Recurrent(cells.get(name)(5, 8))
            layer.step(torch.zeros(2, 5))
        if not runs_natively(layer):
            found.append(f"{name}: .step does not run natively")
    return found


def ratio_of(case: Case) -> float:
    """The time of torch on the padded batch, or of the plain loop, divided by ours."""
    peer = "torch padded" if case.cell in TORCH else "plain loop"
    runs = competitors(case, plain_loop=peer == "plain loop", engine="auto")
    times = interleave({name: runs[name] for name in ("unspool", peer)}, 1.0)
    return times[peer].median / times["unspool"].median


def step_ratio() -> float:
    """torch.nn.LSTMCell's time divided by that of `.step`."""
    times = interleave(steps(), 1.0, rounds=30)
    return times["torch.nn.LSTMCell"].median / times["unspool"].median


def frozen_ratio(form: str) -> float:
    """The time of an LSTM 256's forward divided by that of the same layer frozen with narrow weights."""
    case = Case("lstm", 256, "dense", 1, "forward")
    layer = Recurrent(cells.get("lstm")(case.features, case.hidden))
    x, frozen = Ragged.from_padded(case.padded(), case.lengths()), layer.freeze(form)
    runs = {name: runner(work("forward", m, x)) for name, m in (("layer", layer), ("frozen", frozen))}
    times = interleave(runs, 1.0)
    return times["layer"].median / times["frozen"].median


def lost(ratio: float, baseline: float | None) -> bool:
    return baseline is not None and ratio < (1 - LOSS) * baseline


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="store this machine's figures as the baseline")
    record = parser.parse_args().record
    stored: dict[str, dict[str, float]] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    isa = _native.isa()
    torch.set_num_threads(1)
    if isa not in stored and not record:
        print(f"No baseline for {isa} yet: make one with --record. Only fallbacks are looked for.")
    problems = paths()
    print(f"{len(cells.names())} registered cells, {len(problems)} paths not native")
    found = {}
    timed: dict[str, Callable[[], float]] = {str(case): partial(ratio_of, case) for case in TIMED}
    timed["one .step, lstm 64, batch 1"] = step_ratio
    for form in ("bfloat16", "int8"):
        timed[f"lstm 256 frozen, {form} over float32"] = partial(frozen_ratio, form)
    for name, measured in timed.items():
        ratio = measured()
        baseline = None if record else stored.get(isa, {}).get(name)
        if lost(ratio, baseline):
            ratio = max(ratio, measured())
        if lost(ratio, baseline):
            problems.append(f"{name}: ratio {ratio:.2f}, the baseline has {baseline:.2f}")
        found[name] = round(ratio, 2)
        print(f"{name:66} ratio {ratio:6.2f}  baseline {baseline}", flush=True)
    if record:
        BASELINE.write_text(json.dumps({**stored, isa: found}, indent=1) + "\n")
    if problems:
        raise SystemExit("\n".join(["LOST:", *problems]))


if __name__ == "__main__":
    main()
