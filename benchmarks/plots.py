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
COLORS = {"unspool": "C0", "torch padded": "C1", "torch packed": "C2"}
LABELS = {"unspool": "unspool", "torch padded": "torch, padded", "torch packed": "torch, packed"}
PANELS = (
    ("training, ragged, both directions", ("training", "ragged", 2)),
    ("forward, ragged, both directions", ("forward", "ragged", 2)),
    ("training, dense, one direction", ("training", "dense", 1)),
    ("forward, dense, one direction", ("forward", "dense", 1)),
)


def ratios(result: dict[str, Any]) -> Any:
    """Torch's time (packed where ragged) over ours against width; dashed: the plain loop's, where torch has no cell."""
    rows = [row for row in result["rows"] if row["batch"] == 32]
    panels = [(title, mine) for title, key in PANELS if (mine := [row for row in rows if form(row) == key])]
    size = (3.6 * len(panels), 4.4)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    lines: dict[str, Any] = {}
    for axis, (title, mine) in zip(axes[0], panels):
        for number, cell in enumerate(cells):
            points = sorted((row["hidden"], row["ratios"]) for row in mine if row["cell"] == cell)
            peer = next((p for p in PEERS if points and p in points[0][1]), None)
            if peer is None:
                continue
            style = "o--" if peer == "plain loop" else "o-"
            label = f"{cell} vs {'the plain loop' if peer == 'plain loop' else 'torch'}"
            x, y = [hidden for hidden, _ in points], [found[peer] for _, found in points]
            (lines[label],) = axis.plot(x, y, style, ms=4, color=f"C{number}")
        axis.axhline(1, color="black", lw=0.8)
        axis.set(title=title, xlabel="hidden size", xscale="log", yscale="log")
        axis.set_xticks(widths := sorted({row["hidden"] for row in mine}), widths)
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_yticks([0.5, 1, 2, 5, 10, 20, 50])
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("the other's time / ours")
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=min(5, len(lines)), fontsize=9)
    return figure


def form(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["work"], row["shape"], row["directions"]


def against(name: str) -> Callable[[dict[str, Any]], Any]:
    """Time of a training step against length or batch, and the line fitted to ours where it was fitted."""

    def draw(result: dict[str, Any]) -> Any:
        figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
        rows, fit = result["rows"], result.get("linear_from_32", result["linear"])
        x = [row[name] for row in rows]
        for tool in ("unspool", "torch padded"):
            y = [row["ms"][tool] for row in rows]
            axis.plot(x, y, "o-", ms=4, label=LABELS[tool], color=COLORS[tool])
        fitted = [row for row in rows if name == "length" or row["batch"] >= 32]
        line = [fit["fixed"] + fit["a_token"] * row["tokens"] for row in fitted]
        label = f"{fit['fixed']:.2g} ms + {1e3 * fit['a_token']:.2g} us a token"
        axis.plot([row[name] for row in fitted], line, "--", color="black", lw=1, label=label)
        other = "batch 32" if name == "length" else "length 150"
        axis.set(xscale="log", yscale="log", xlabel=name, ylabel="ms")
        axis.set_xticks(x, [f"{value:,}" for value in x], rotation=45 if len(x) > 8 else 0)
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:,g}")
        axis.set_title(
            f"training step of an LSTM 64, dense, {other}, {result['threads']} threads", fontsize=10
        )
        axis.grid(alpha=0.3)
        axis.legend()
        return figure

    return draw


def threads(result: dict[str, Any]) -> Any:
    """Gain from the second thread, a group of bars for each case."""
    rows = result["rows"]
    figure, axis = plt.subplots(figsize=(7.5, 1.2 + 0.38 * len(rows)), layout="constrained")
    for number, (tool, color) in enumerate(COLORS.items()):
        at = [i + 0.27 * (number - 1) for i in range(len(rows))]
        axis.barh(at, [row["gain"][tool] for row in rows], 0.25, label=LABELS[tool], color=color)
    names = [row["case"].replace(", ragged", "").replace(", batch 32", "") for row in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.invert_yaxis()
    axis.axvline(1, color="black", lw=0.8)
    axis.axvline(2, color="black", lw=0.8, ls=":")
    axis.set(xlabel="time with one thread / time with two", title="ragged batches of 32")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
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
