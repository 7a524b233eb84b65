"""One recurrent layer, ours against torch's and the plain loop, side by side.

    python benchmarks/layers.py                     # the table of docs/performance.md
    python benchmarks/layers.py --quick             # less than two minutes
    python benchmarks/layers.py --cells lstm gru --hidden 64 256 --batch 1 32 --threads 1

Every case runs its competitors in turn, round after round, so that a slow minute of the machine falls on all.
A table is printed; results go to benchmarks/results/layers.json with machine, versions, commit and command.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peers.record import ROOT, setting
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import unspool
from unspool import Ragged, _native, cells

FEATURES, LONGEST = 128, 150
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "peephole": 4, "layer_norm": 4}


class PeepholeLSTM(cells.LSTMCell):
    """Gates that also see c (Gers & Schmidhuber 2000): a cell as a user would write it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.peep = nn.Parameter(torch.randn(3, hidden_size) * 0.1)

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = state
        z = nn.functional.linear(x, self.weight_ih, self.bias_ih)
        i, f, g, o = (z + nn.functional.linear(h, self.weight_hh, self.bias_hh)).chunk(4, -1)
        c_new = torch.sigmoid(f + self.peep[1] * c) * c + torch.sigmoid(i + self.peep[0] * c) * torch.tanh(g)
        return torch.sigmoid(o + self.peep[2] * c_new) * torch.tanh(c_new), c_new


class LayerNormLSTM(cells.LSTMCell):
    """Both products and c normalised (Ba et al. 2016)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.norm_x, self.norm_h = nn.LayerNorm(4 * hidden_size), nn.LayerNorm(4 * hidden_size)
        self.norm_c = nn.LayerNorm(hidden_size)

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = state
        z = self.norm_x(nn.functional.linear(x, self.weight_ih)) + self.norm_h(
            nn.functional.linear(h, self.weight_hh)
        )
        i, f, g, o = (z + self.bias_ih).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.norm_c(c)), c


CELLS = {**cells.registry, "peephole": PeepholeLSTM, "layer_norm": LayerNormLSTM}
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def competitors(case: argparse.Namespace) -> tuple[dict[str, Callable[[], None]], int]:
    """Name -> one forward or one training step; and the number of tokens."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.full((case.batch,), LONGEST)
    if case.shape == "ragged":
        lengths = torch.randint(10, LONGEST + 1, (case.batch,), generator=generator)
    padded = torch.randn(case.batch, LONGEST, FEATURES, generator=generator)
    ragged = Ragged.from_padded(padded, lengths)
    both = case.directions == 2

    def step(layer: nn.Module, x: Any) -> Callable[[], None]:
        def run() -> None:
            if case.work == "forward":
                with torch.no_grad():
                    layer(x)
                return
            output = layer(x)[0]
            if not isinstance(output, Tensor):
                output = output.values if isinstance(output, Ragged) else output.data
            output.backward(torch.ones_like(output))

        return run

    make = CELLS[case.cell]
    ours = unspool.nn.Recurrent(make(FEATURES, case.hidden), bidirectional=both, engine="native")
    loop = unspool.nn.Recurrent(make(FEATURES, case.hidden), bidirectional=both, engine="eager")
    runs = {"unspool": step(ours, ragged)}
    if case.cell in TORCH:
        peer = TORCH[case.cell](FEATURES, case.hidden, batch_first=True, bidirectional=both)
        runs["torch padded"] = step(peer, padded)
        if case.shape == "ragged":
            packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
            runs["torch packed"] = step(peer, packed)
    else:
        runs["plain loop"] = step(loop, ragged)
        reference = unspool.nn.Recurrent(
            cells.LSTMCell(FEATURES, case.hidden), bidirectional=both, engine="native"
        )
        runs["our LSTM"] = step(reference, ragged)
    return runs, int(lengths.sum())


def measure(runs: dict[str, Callable[[], None]], rounds: int, seconds: float) -> dict[str, float]:
    """Median milliseconds of each, in turn, for `rounds` rounds or until `seconds` are over."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
        run()
    end = time.perf_counter() + seconds
    while len(times["unspool"]) < 3 or (len(times["unspool"]) < rounds and time.perf_counter() < end):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(t) for name, t in times.items()}


def operations(case: argparse.Namespace, tokens: int) -> float:
    """FLOP of the products: forward (F + H) a gate and unit; a training step also dh and both weight gradients."""
    forward = FEATURES + case.hidden
    work = forward if case.work == "forward" else 2 * forward + case.hidden
    return 2.0 * tokens * case.directions * GATES[case.cell] * case.hidden * work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cells", nargs="+", default=["lstm", "gru", "rnn", "peephole", "layer_norm"], choices=CELLS
    )
    parser.add_argument("--hidden", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--shape", nargs="+", default=["dense", "ragged"], choices=["dense", "ragged"])
    parser.add_argument("--directions", nargs="+", type=int, default=[1, 2], choices=[1, 2])
    parser.add_argument("--work", nargs="+", default=["forward", "training"], choices=["forward", "training"])
    parser.add_argument("--batch", nargs="+", type=int, default=[32])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="at most so long a case, after three rounds"
    )
    parser.add_argument(
        "--quick", action="store_true", help="both directions ragged, one dense, training only"
    )
    args = parser.parse_args()
    if args.quick:
        args.work, args.seconds = ["training"], 2.0
    torch.set_num_threads(args.threads)
    rows = []
    keys = ("cell", "hidden", "shape", "directions", "work", "batch")
    grid = itertools.product(args.cells, args.hidden, args.shape, args.directions, args.work, args.batch)
    print(f"{'case':48} {'ms':>8} {'GFLOP/s':>8} {'of peak':>8}   peer's time / ours")
    for values in grid:
        case = argparse.Namespace(**dict(zip(keys, values)))
        if args.quick and (case.shape == "ragged") != (case.directions == 2):
            continue
        peak = _native.peak_flops(0.05, args.threads)
        runs, tokens = competitors(case)
        medians = measure(runs, args.rounds, args.seconds)
        peak = max(peak, _native.peak_flops(0.05, args.threads))
        ours = medians["unspool"]
        rate = operations(case, tokens) / ours / 1e-3
        ratios = {name: ms / ours for name, ms in medians.items() if name != "unspool"}
        label = " ".join(str(v) for v in values)
        told = "  ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
        print(f"{label:48} {ours:8.2f} {rate / 1e9:8.1f} {rate / peak:8.0%}   {told}", flush=True)
        rows.append({**vars(case), "ms": medians, "ratios": ratios, "flops": rate, "peak_flops": peak})
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "unspool": unspool.__version__, "isa": _native.isa()}
    result = {"setting": setting(), "versions": versions, "threads": args.threads, "rows": rows}
    (folder / "layers.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
