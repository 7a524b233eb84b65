"""What the reproductions share: the model, options, repeated runs, a table and a JSON file of the results."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import unspool
from unspool import Ragged, _native, explain_path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from peers.record import ROOT, setting

CELLS = ("rnn", "gru", "lstm")


class Model(nn.Module):
    """A stack of one cell and a linear layer on its outputs, or on the last output of each sequence.

    remember: steps that gates are to remember at first, see `remember_for`; 0: the cell starts as it always does.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        outputs: int,
        last: bool = False,
        dropout: float = 0.0,
        remember: int = 0,
    ) -> None:
        super().__init__()
        self.stack = unspool.nn.Stack(cell, inputs, hidden, engine="native")
        if remember:
            remember_for(self.stack.layers[0].cell, remember)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.stack.output_size, outputs)
        self.last = last

    def forward(self, x: Ragged) -> Tensor:
        """(N, outputs), or (B, outputs) with `last`."""
        output = self.stack(x)[0]
        return self.head(self.dropout(output.last() if self.last else output.values))

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())


@torch.no_grad()
def remember_for(cell: Any, steps: int) -> None:
    """Gate biases such that units forget over 2 to `steps` steps (Tallec & Ollivier 2018, arXiv:1804.11188).

    b = log u, u uniform in [1, steps - 1], for each unit: LSTM b_f = b, b_i = -b; GRU b_z = b, its z keeping.
    """
    b = torch.empty(cell.hidden_size).uniform_(1, steps - 1).log()
    for gate, value in {"f": b, "i": -b, "z": b}.items():
        if gate in cell.gates:
            rows = slice(cell.gates.index(gate) * cell.hidden_size, None)
            cell.bias_ih[rows][: cell.hidden_size] = value
            cell.bias_hh[rows][: cell.hidden_size] = 0.0


def options(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps, nothing saved")
    parser.add_argument(
        "--search", action="store_true", help="the grid of settings on the validation part, seed 0"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.quick or args.search:
        args.seeds = args.seeds[:1]
    return args


def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def run_all(
    name: str,
    args: argparse.Namespace,
    settings: dict[str, dict[str, Any]],
    grid: list[dict[str, Any]],
    run: Callable[[str, int, dict[str, Any], bool], dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """`run(cell, seed, settings, test)` for every cell and seed; or, with --search, for every entry of the grid.

    Its answer holds "validation", "seconds", "parameters", and, where `test` is true, numbers under "test".
    """
    results: dict[str, Any] = {}
    for cell in args.cells:
        tried = [{**settings[cell], **change} for change in grid] if args.search else [settings[cell]]
        for chosen in tried:
            runs = {}
            for seed in args.seeds:
                start = time.process_time()
                answer = run(cell, seed, chosen, not args.search)
                answer["cpu_seconds"] = round(time.process_time() - start, 1)
                runs[seed] = answer
                told = "  ".join(f"{k} {v:.4g}" for k, v in answer.get("test", {}).items())
                print(
                    f"{cell:5} seed {seed} {chosen}: validation {answer['validation']:.4g}  {told}"
                    f"  ({answer['cpu_seconds']} s)",
                    flush=True,
                )
            entry = {"settings": chosen, "runs": runs}
            if args.search:
                results.setdefault(cell, []).append(entry)
            else:
                results[cell] = {**entry, **_summary(runs)}
    if not args.search:
        _table(results)
    if args.quick:
        return
    record = {
        "setting": {
            **setting(),
            "command": " ".join([f"python benchmarks/reproduce/{name}.py", *sys.argv[1:]]),
        },
        "versions": {"torch": torch.__version__, "unspool": unspool.__version__, "isa": _native.isa()},
        "threads": args.threads,
        "task": facts,
        "results": results,
    }
    file = ROOT / "benchmarks" / "results" / f"reproduce_{name}{'_search' if args.search else ''}.json"
    file.write_text(json.dumps(record, indent=1) + "\n")
    print(f"Written: {file.relative_to(ROOT)}")


def _summary(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    tests = [r["test"] for r in runs.values()]
    return {
        "parameters": next(iter(runs.values()))["parameters"],
        "test": {key: spread([t[key] for t in tests]) for key in tests[0]},
        "cpu_seconds": sum(r["cpu_seconds"] for r in runs.values()),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample standard deviation (0 for one value)."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation}


def _table(results: dict[str, Any]) -> None:
    keys = list(next(iter(results.values()))["test"])
    print(f"\n{'cell':6}{'parameters':>11}" + "".join(f"{key:>24}" for key in keys) + f"{'CPU s':>9}")
    for cell, entry in results.items():
        figures = "".join(
            f"{value['mean']:14.4g} ± {value['deviation']:<7.2g}" for value in entry["test"].values()
        )
        print(f"{cell:6}{entry['parameters']:11,d}{figures}{entry['cpu_seconds']:9.0f}")


def check_native(model: Model, x: Ragged) -> None:
    path = explain_path(model.stack, x)
    if path != "native":
        raise RuntimeError(f"The run is meant for the native engine. Got {path}.")
