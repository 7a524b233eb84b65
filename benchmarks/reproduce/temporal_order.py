"""Temporal order (Hochreiter & Schmidhuber 1997, task 6a): which of X and Y came first and which second.

    python benchmarks/reproduce/temporal_order.py             # three cells, three seeds
    python benchmarks/reproduce/temporal_order.py --quick
    python benchmarks/reproduce/temporal_order.py --search    # how the settings were chosen

Sequences of 100 to 110 symbols, one-hot of 8: E, then random a, b, c, d, then B; at a place from 10 to 20 and at one
from 50 to 60 stands X or Y. The class, after the last symbol: XX, XY, YX or YY. The 1997 paper's LSTM of 156 weights
learnt it from 31,390 sequences, one at a time, with one wrong in 2,560 tested. Here: 32 units, cross-entropy,
batches of 20 fresh sequences of uneven length; a run stops once the last 2,000 training sequences were all right
("sequences": how many it had seen, the paper's measure), or at a limit.
"remember": gates that start open for up to that many steps (`common.remember_for`).
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch
from common import Model, check_native, options, run_all, step
from torch import Tensor, nn

from unspool import Ragged

HIDDEN = 32
START, END, X, Y = 4, 5, 6, 7
COMMON = {"batch": 20, "limit": 100_000, "clip": 1.0}
SETTINGS = {
    "rnn": {"lr": 1e-3, "remember": 0, **COMMON},
    "gru": {"lr": 1e-2, "remember": 110, **COMMON},
    "lstm": {"lr": 1e-2, "remember": 110, **COMMON},
}
GRID = [{"lr": lr, "remember": steps} for steps in (0, 110) for lr in (1e-3, 3e-3, 1e-2)]
VALIDATION_SEED, TEST_SEED = 1_000, 2_000


def sequences(count: int, generator: torch.Generator) -> tuple[Ragged, Tensor]:
    """Inputs (count sequences of (100 to 110, 8)) and classes (count,)."""

    def draw(low: int, high: int, shape: tuple[int, ...] = (count,)) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    lengths, rows = draw(100, 110), torch.arange(count)
    symbols = draw(0, 3, (count, 110))
    first, second = draw(0, 1), draw(0, 1)
    symbols[:, 0], symbols[rows, lengths - 1] = START, END
    symbols[rows, draw(10, 20)] = X + first
    symbols[rows, draw(50, 60)] = X + second
    return Ragged.from_padded(nn.functional.one_hot(symbols, 8).float(), lengths), 2 * first + second


@torch.no_grad()
def evaluate(model: Model, part: tuple[Ragged, Tensor]) -> tuple[float, float]:
    """(cross-entropy, share of wrong classes)."""
    scores, y = model(part[0]), part[1]
    return float(nn.functional.cross_entropy(scores, y)), float((scores.argmax(1) != y).float().mean())


def main() -> None:
    args = options(__doc__ or "")
    validation = sequences(500, torch.Generator().manual_seed(VALIDATION_SEED))
    test = sequences(2560, torch.Generator().manual_seed(TEST_SEED))

    def run(cell: str, seed: int, chosen: dict[str, Any], with_test: bool) -> dict[str, Any]:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = Model(cell, 8, HIDDEN, 4, last=True, remember=chosen["remember"])
        check_native(model, test[0])
        optimizer = torch.optim.Adam(model.parameters(), lr=chosen["lr"])
        start, size, seen = time.perf_counter(), chosen["batch"], 0
        wrong: deque[int] = deque(maxlen=2000 // size)
        while seen < (400 if args.quick else chosen["limit"]):
            x, y = sequences(size, generator)
            scores = model(x)
            wrong.append(int((scores.argmax(1) != y).sum()))
            step(model, optimizer, nn.functional.cross_entropy(scores, y), chosen["clip"])
            seen += size
            if seen >= 2000 and not any(wrong):
                break
        answer: dict[str, Any] = {
            "validation": evaluate(model, validation)[0],
            "seconds": round(time.perf_counter() - start, 1),
            "parameters": model.parameter_count(),
            "learnt": seen >= 2000 and not any(wrong),
            "sequences": seen,
        }
        if with_test:
            loss, share = evaluate(model, test)
            answer["test"] = {"wrong": share, "loss": loss, "sequences": seen}
        return answer

    facts = {
        "published": {"lstm": {"sequences": 31_390, "wrong": 1 / 2560, "weights": 156}},
        "source": "Hochreiter & Schmidhuber 1997, section 5.6, task 6a",
        "hidden": HIDDEN,
        "validation_and_test": "500 and 2,560 sequences; the model after the last step",
    }
    run_all("temporal_order", args, SETTINGS, GRID, run, facts)


if __name__ == "__main__":
    main()
