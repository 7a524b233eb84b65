"""The seed job, EmoBank text -> valence by a bidirectional LSTM: unspool against the peers.

    python benchmarks/seed_job.py quality --tools unspool torch-packed --seeds 0 1 2
    python benchmarks/seed_job.py speed --tools unspool keras-jax torch-packed --rounds 5

See README.md beside this file for the environments and for what is held equal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers.data import EMOBANK
from peers.record import ROOT, setting
from peers.tools import TOOLS

HERE = Path(__file__).resolve().parent
EPOCH_BATCHES = 504  # 8,062 texts by 16


class Worker:
    """One tool in a process of its own; answers are JSON lines."""

    def __init__(self, tool: str, action: str, arguments: argparse.Namespace, *extra: str) -> None:
        self.tool = tool
        peers = TOOLS[tool].environment == "peers"
        python = str(Path(arguments.peers_python).absolute()) if peers else sys.executable
        if not Path(python).exists():
            sys.exit(
                f"{tool} needs the peers' environment: no {python}. benchmarks/README.md says how to make it."
            )
        self.process = subprocess.Popen(
            [python, "-m", "peers", tool, action, "--data", str(arguments.data.resolve()), *extra],
            cwd=HERE,
            env={**os.environ, **TOOLS[tool].variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            sys.exit(f"{self.tool} ended without an answer (exit status {self.process.wait()}).")
        return json.loads(line)

    def ask(self) -> dict[str, Any]:
        self.process.stdin.write("\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def quality(arguments: argparse.Namespace) -> dict[str, Any]:
    """Full training with early stopping for every tool and seed, one process at a time."""
    results: dict[str, Any] = {}
    for tool in arguments.tools:
        seeds = arguments.seeds if TOOLS[tool].has_epochs else arguments.seeds[:1]
        runs = {}
        for seed in seeds:
            worker = Worker(
                tool, "quality", arguments, "--seed", str(seed), "--max-epochs", str(arguments.max_epochs)
            )
            runs[seed] = worker.answer()
            worker.close()
        results[tool] = {**summary(list(runs.values())), "runs": runs}
        print(quality_line(tool, results[tool]), flush=True)
    return results


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation (n - 1) over the seeds; the median epoch over all of them."""

    def spread(name: str) -> dict[str, float | None]:
        values = [run[name] for run in runs if run[name] is not None]
        return {
            "mean": statistics.mean(values) if values else None,
            "deviation": statistics.stdev(values) if len(values) > 1 else None,
        }

    seconds = [run["epoch_seconds"] for run in runs if run["epoch_seconds"] is not None]
    return {
        "test_r": spread("test_r"),
        "test_rmse": spread("test_rmse"),
        "epochs": [run["epochs"] for run in runs],
        "epoch_seconds": statistics.median(seconds) if seconds else None,
    }


def quality_line(tool: str, result: dict[str, Any]) -> str:
    def number(value: float | None, form: str = ".3f") -> str:
        return "-" if value is None else format(value, form)

    r, rmse = result["test_r"], result["test_rmse"]
    return (
        f"{tool:18} r {number(r['mean'])} ({number(r['deviation'])})"
        f"  RMSE {number(rmse['mean'])} ({number(rmse['deviation'])})"
        f"  epochs {result['epochs']}  s/epoch {number(result['epoch_seconds'], '.1f')}"
    )


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same batches for every tool, warm, one tool at a time in interleaved rounds."""
    workers, versions = [], {}
    for tool in arguments.tools:
        if not TOOLS[tool].has_epochs:
            sys.exit(f"{tool} has no epochs to time.")
        workers.append(Worker(tool, "speed", arguments, "--batches", str(arguments.batches)))
        versions[tool] = workers[-1].answer()["versions"]
    seconds: dict[str, list[float]] = {tool: [] for tool in arguments.tools}
    for _ in range(arguments.rounds):
        for worker in workers:
            seconds[worker.tool].append(worker.ask()["seconds"])
    for worker in workers:
        worker.close()

    reference = arguments.tools[0]
    results = {}
    for tool, rounds in seconds.items():
        ratios = [a / b for a, b in zip(rounds, seconds[reference], strict=True)]
        results[tool] = {
            "batch_ms": 1000 * statistics.median(rounds) / arguments.batches,
            "epoch_seconds": EPOCH_BATCHES * statistics.median(rounds) / arguments.batches,
            f"times_{reference}": statistics.median(ratios),
            "rounds": rounds,
            "versions": versions[tool],
        }
        print(
            f"{tool:18} {results[tool]['batch_ms']:7.1f} ms/batch"
            f"  {results[tool]['epoch_seconds']:7.1f} s/epoch"
            f"  {statistics.median(ratios):5.2f} x {reference} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for name, run in (("quality", quality), ("speed", speed)):
        action = actions.add_parser(name, help=run.__doc__)
        action.set_defaults(run=run)
        action.add_argument(
            "--tools", nargs="+", choices=TOOLS, required=True, metavar="TOOL", help=", ".join(TOOLS)
        )
        action.add_argument("--data", type=Path, default=EMOBANK, help="EmoBank's emobank.csv")
        action.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"))
        action.add_argument("--out", type=Path, default=HERE / f"results/seed_job_{name}.json")
        if name == "quality":
            action.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
            action.add_argument("--max-epochs", type=int, default=12)
        else:
            action.add_argument("--batches", type=int, default=100, help="batches of 16 texts a pass")
            action.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    before = setting()
    results = arguments.run(arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"setting": before, "results": results}, indent=1) + "\n")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
