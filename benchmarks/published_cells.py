"""A training step of published cells on uneven lengths: the native engine against a padded plain loop.

    python benchmarks/published_cells.py                     # every cell of tests/engine/published_*.py
    python benchmarks/published_cells.py MLSTM DeltaNet      # some of them

Both directions, 64 units, 32 sequences of 1 to 100 steps, 32 features: forward and backward. The plain loop takes the
same cells step by step over a padded batch and keeps the state of sequences that have ended, as hand-written loops
do. Both run in turn, round after round; medians. A table is printed; results go to
benchmarks/results/published_cells.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from peers.record import ROOT, save, setting
from torch import Tensor, nn

import unspool
from unspool import Ragged, _native
from unspool.nn import Recurrent
from unspool.state import flatten, unflatten

sys.path.insert(0, str(ROOT / "tests"))
from engine.published_cells import CELLS

FEATURES, HIDDEN, BATCH, STEPS = 32, 64, 32, 100


def padded_loop(cell: nn.Module, x: Tensor, alive: Tensor, reverse: bool) -> Tensor:
    """x (T, B, F), alive (T, B, 1) -> the outputs (T, B, H)."""
    state: Any = cell.initial_state(x.shape[1])  # type: ignore[operator]
    outputs: list[Tensor] = [x] * len(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        new = [torch.where(alive[t], b, a) for a, b in zip(flatten(state), flatten(cell(x[t], state)))]
        state, outputs[t] = unflatten(state, new), new[0]
    return torch.stack(outputs)


def measure(make: Callable[[int, int], nn.Module], rounds: int) -> tuple[float, float]:
    """(milliseconds of ours, of the plain loop), medians over rounds that alternate."""
    torch.manual_seed(0)
    layer = Recurrent(make(FEATURES, HIDDEN), bidirectional=True, engine="native")
    lengths = torch.randint(1, STEPS + 1, (BATCH,))
    lengths[0] = STEPS
    batch = Ragged.from_list([torch.randn(int(n), FEATURES) for n in lengths])
    padded = batch.to_padded().transpose(0, 1).contiguous()
    alive = (torch.arange(STEPS)[:, None] < lengths)[..., None]

    def ours() -> None:
        layer.zero_grad()
        layer(batch)[0].values.sum().backward()

    def loop() -> None:
        layer.zero_grad()
        both = [padded_loop(cell, padded, alive, d == 1) for d, cell in enumerate(layer.cells())]
        (torch.cat(both, 2) * alive).sum().backward()

    times: dict[str, list[float]] = {"ours": [], "loop": []}
    for k in range(rounds + 1):
        for name, run in (("ours", ours), ("loop", loop)):
            start = time.perf_counter()
            run()
            if k:
                times[name].append(1e3 * (time.perf_counter() - start))
    return statistics.median(times["ours"]), statistics.median(times["loop"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cells", nargs="*", help="names of cells; none: all")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    before = setting()
    rows = []
    print(f"{'cell':26} {'ours, ms':>10} {'plain, ms':>10} {'ratio':>7}")
    for make in CELLS:
        if options.cells and make.__name__ not in options.cells:
            continue
        ours, loop = measure(make, options.rounds)
        print(f"{make.__name__:26} {ours:10.1f} {loop:10.1f} {loop / ours:7.1f}", flush=True)
        rows.append({"cell": make.__name__, "ours_ms": ours, "loop_ms": loop, "ratio": loop / ours})
    versions = {"torch": torch.__version__, "unspool": unspool.__version__, "isa": _native.isa()}
    name = "published_cells_part" if options.cells else "published_cells"
    save(name, {"rows": rows, "versions": versions}, before)


if __name__ == "__main__":
    main()
