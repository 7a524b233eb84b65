"""Pictures of benchmarks/results/*.json, beside them.

python benchmarks/plots.py            # of whole runs
python benchmarks/plots.py --quick    # of NAME_quick.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from peers.record import ROOT

matplotlib.use("agg")
from matplotlib import pyplot as plt

RESULTS = ROOT / "benchmarks" / "results"
PEERS = ("torch packed", "torch padded", "plain loop")
PANELS = (
    ("training, ragged, both directions", ("training", "ragged", 2)),
    ("forward, ragged, both directions", ("forward", "ragged", 2)),
    ("training, dense, one direction", ("training", "dense", 1)),
    ("forward, dense, one direction", ("forward", "dense", 1)),
)


def ratios(result: dict[str, Any]) -> Any:
    """Torch's time (packed where ragged; the plain loop where torch has no such cell) over ours against width."""
    rows = [row for row in result["rows"] if row["batch"] == 32]
    forms = {(row["work"], row["shape"], row["directions"]) for row in rows}
    panels = [panel for panel in PANELS if panel[1] in forms]
    size = (3.8 * len(panels), 4)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained")
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    for axis, (title, key) in zip(axes, panels):
        mine = [row for row in rows if (row["work"], row["shape"], row["directions"]) == key]
        for number, cell in enumerate(cells):
            points = sorted((row["hidden"], row["ratios"]) for row in mine if row["cell"] == cell)
            peer = next((p for p in PEERS if points and p in points[0][1]), None)
            if peer is not None:
                x, y = [hidden for hidden, _ in points], [found[peer] for _, found in points]
                axis.plot(x, y, "o-", ms=4, color=f"C{number}", label=f"{cell} vs {peer}")
        axis.axhline(1, color="black", lw=0.8)
        axis.set(title=title, xlabel="hidden size", xscale="log", yscale="log")
        axis.set_xticks(widths := sorted({row["hidden"] for row in rows}), widths, minor=False)
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_yticks([0.5, 1, 2, 5, 10, 20, 50])
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("the other's time / ours")
    return figure


def against(name: str) -> Callable[[dict[str, Any]], Any]:
    """Time of a training step against length or batch, and against the fitted line."""

    def draw(result: dict[str, Any]) -> Any:
        figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
        rows, fit = result["rows"], result.get("linear_from_32", result["linear"])
        x = [row[name] for row in rows]
        for tool, label in (("torch padded", "torch.nn.LSTM"), ("unspool", "unspool")):
            axis.plot(x, [row["ms"][tool] for row in rows], "o-", ms=4, label=label)
        line = [fit["fixed"] + fit["a_token"] * row["tokens"] for row in rows]
        axis.plot(x, line, "--", color="black", lw=1, label="fixed + a token's share")
        other = "batch 32" if name == "length" else "length 150"
        axis.set(xscale="log", yscale="log", xlabel=name, ylabel="ms")
        axis.set_title(f"training step of an LSTM 64, dense, {other}")
        axis.grid(alpha=0.3)
        axis.legend()
        return figure

    return draw


def threads(result: dict[str, Any]) -> Any:
    """Gain from the second thread, a group of bars for each case."""
    rows = result["rows"]
    figure, axis = plt.subplots(figsize=(7, 0.8 + 0.34 * len(rows)), layout="constrained")
    tools = ("unspool", "torch padded", "torch packed")
    for number, tool in enumerate(tools):
        at = [i + 0.27 * (number - 1) for i in range(len(rows))]
        axis.barh(at, [row["gain"].get(tool, 0) for row in rows], 0.25, label=tool)
    axis.set_yticks(range(len(rows)), [row["case"].replace(", batch 32", "") for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(1, color="black", lw=0.8)
    axis.axvline(2, color="black", lw=0.8, ls=":")
    axis.set(xlabel="time with one thread / time with two")
    axis.legend(fontsize=8)
    return figure


PLOTS = {"layers": ratios, "length": against("length"), "batch": against("batch"), "threads": threads}


def draw(folder: Path = RESULTS, suffix: str = "") -> list[Path]:
    """One PNG for each result in `folder` that has a plot; the files written."""
    written = []
    for name, plot in PLOTS.items():
        source = folder / f"{name}{suffix}.json"
        if source.exists():
            figure = plot(json.loads(source.read_text()))
            figure.savefig(source.with_suffix(".png"), dpi=100)
            plt.close(figure)
            written.append(source.with_suffix(".png"))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    for file in draw(suffix="_quick" if args.quick else ""):
        print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
