"""Vanishing and exploding gradients, and what gates do about it: the figure and the table of docs/seeing.md.

    python benchmarks/reproduce/gradients.py          # docs/images/gradients.png and the table, a few seconds
    python benchmarks/reproduce/gradients.py --quick  # one seed, nothing written

Cells of 64 units with fresh weights, 100 steps of 16 features N(0, 1), five draws of weights and inputs; the loss is
the last output in a random direction (`unspool.study.gradient_flow`).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from common import ROOT

from unspool import cells
from unspool.study import gradient_flow, plot_gradient_flow

AT = 50
FIGURE = ROOT / "docs" / "images" / "gradients.png"


def doubled(input_size: int, hidden_size: int) -> Any:
    cell = cells.RNNCell(input_size, hidden_size)
    with torch.no_grad():
        cell.weight_hh.mul_(2.0)
    return cell


CELLS: dict[str, Any] = {
    "rnn": "rnn",
    "rnn, recurrent weights doubled": doubled,
    "gru": "gru",
    "gru, update gate's bias 3": lambda f, h: cells.GRUCell(f, h, gate_bias={"z": 3.0}),
    "lstm, forget bias 0": lambda f, h: cells.LSTMCell(f, h, gate_bias={"f": 0.0}),
    "lstm (forget bias 1)": "lstm",
    "lstm, forget bias 3": lambda f, h: cells.LSTMCell(f, h, gate_bias={"f": 3.0}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, nothing written")
    quick = parser.parse_args().quick
    flow = gradient_flow(CELLS, length=100, seeds=1 if quick else 5)
    print(f"| | factor a step | norm after {AT} steps |\n|---|---|---|")
    for name, rows in flow.norms.items():
        print(f"| {name} | {flow.rate(name):.2f} | {np.median(rows[:, AT]):.1e} |")
    if not quick:
        FIGURE.parent.mkdir(exist_ok=True)
        plot_gradient_flow(FIGURE, flow)
        print(f"Written: {FIGURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
