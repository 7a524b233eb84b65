"""One recurrent layer, ours against torch's, the plain loop and other tools, side by side.

    python benchmarks/layers.py                     # the informative part of the grid, about ten minutes
    python benchmarks/layers.py --quick             # about a minute
    python benchmarks/layers.py --whole             # all 800 cases: hours
    python benchmarks/layers.py --cells lstm gru --hidden 64 256 --batch 1 32 --threads 1
    python benchmarks/layers.py --quick --peers onnxruntime keras-jax torch-compile

Every case runs its competitors in turn, round after round, so that a slow minute of the machine falls on all.
A table is printed; results go to benchmarks/results/layers.json (layers_quick.json, or layers_part.json for cases
chosen by hand) with machine, versions, commit and command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import grid
import torch
from peers.layers import TOOLS
from peers.record import ROOT, save, setting
from remote import Remote, Unavailable

import unspool
from unspool import _native, cells
from unspool.bench import SHAPES, WORKS, Case, competitors, flops, measure


def row_of(
    case: Case, seconds: float, remotes: Sequence[Remote], loop_cells: Sequence[str]
) -> dict[str, Any]:
    torch.manual_seed(0)
    make = cells.get(case.cell)
    runs = competitors(case, plain_loop=case.cell in loop_cells)
    if case.cell.endswith("_lstm"):
        runs["our LSTM"] = competitors(case.but(cell="lstm"), plain_loop=False)["unspool"]
    missing = {}
    for remote in remotes:
        try:
            runs[remote.name] = remote.prepare(case)
        except Unavailable as reason:
            missing[remote.name] = str(reason)
    row = measure(runs, flops(case, make(case.features, case.hidden)), seconds).to_dict()
    others = [f"{name} {ratio:.2f}" for name, ratio in row["ratios"].items()]
    others += [f"{name}: {reason}" for name, reason in missing.items()]
    print(
        f"{case!s:64} {row['ms']['unspool']:8.2f} {row['gflops']:8.1f} {row['share_of_peak']:7.0%}   "
        + "  ".join(others),
        flush=True,
    )
    return {**asdict(case), **row, "missing": missing}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__, "unspool": unspool.__version__, "isa": _native.isa()}


def measure_grid(
    name: str,
    cases: Sequence[Case],
    seconds: float,
    peers: Sequence[str] = (),
    peers_python: str = "",
    loop_cells: Sequence[str] = cells.names(),
) -> None:
    """Measure and print one row a case; save them as results/`name`.json.

    loop_cells: cells that also run as the plain loop.
    """
    before = setting()
    threads = torch.get_num_threads()
    remotes = [Remote(peer, peers_python, threads) for peer in peers]
    print(f"{'case':64} {'ms':>8} {'GFLOP/s':>8} {'of peak':>7}   the others' time / ours")
    rows = [row_of(case, seconds, remotes, loop_cells) for case in cases]
    found = versions()
    for remote in remotes:
        found |= remote.versions
        remote.close()
    save(name, {"versions": found, "threads": threads, "rows": rows}, before)


def chosen(args: argparse.Namespace) -> tuple[str, list[Case]]:
    """The name of the result and the cases that the command line asks for."""
    axes = (args.cells, args.hidden, args.shape, args.directions, args.work, args.batch)
    parts = {"quick": args.quick, "whole": args.whole, "informative": True}
    if all(axis is None for axis in axes):
        part = next(name for name, asked in parts.items() if asked)
        return "layers_quick" if args.quick else "layers", getattr(grid, part)()
    if args.quick or args.whole:
        raise SystemExit("--quick and --whole choose the cases: give them without --cells, --hidden, ...")
    forms = [(shape, n) for shape in args.shape or SHAPES for n in args.directions or (1, 2)]
    values = (
        args.cells or grid.GRID,
        args.hidden or (64, 256),
        forms,
        args.work or WORKS,
        args.batch or [32],
    )
    return "layers_part", grid.cases(*values)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", choices=cells.names())
    parser.add_argument("--hidden", nargs="+", type=int)
    parser.add_argument("--shape", nargs="+", choices=SHAPES)
    parser.add_argument("--directions", nargs="+", type=int, choices=[1, 2])
    parser.add_argument("--work", nargs="+", choices=WORKS)
    parser.add_argument("--batch", nargs="+", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.6, help="a case, once each has had three rounds")
    parser.add_argument(
        "--peers", nargs="+", choices=TOOLS, default=[], help="other tools, each in a process"
    )
    parser.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"))
    parser.add_argument("--no-plain-loop", action="store_true")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true")
    size.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    name, chosen_cases = chosen(args)
    torch.set_num_threads(args.threads)
    loop_cells = [] if args.no_plain_loop else cells.names()
    measure_grid(name, chosen_cases, args.seconds, args.peers, args.peers_python, loop_cells)


if __name__ == "__main__":
    main()
