"""The adding problem (Hochreiter & Schmidhuber 1997): the sum of the two marked numbers of a long sequence.

    python benchmarks/reproduce/adding.py             # three cells, three seeds
    python benchmarks/reproduce/adding.py --quick
    python benchmarks/reproduce/adding.py --search    # how the settings were chosen

Inputs (T, 2): numbers uniform in [0, 1) and marks, 1 at two random places, else 0. Loss: squared error of the
prediction after the last step; always answering 1 has an expected loss of 1/6 = 0.167.
Published at T = 600 (Bai, Kolter & Koltun 2018, Table 1, about 70,000 parameters each): RNN .177, GRU 5.3e-5,
LSTM .164. Here T = 600 and 64 units; every batch is fresh, the learning rate falls to 0 along half a cosine.
"remember": gates that start open for up to that many steps (`common.remember_for`).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from common import Model, check_native, options, run_all, step
from torch import Tensor

from unspool import Ragged

T, HIDDEN = 600, 64
COMMON = {"batch": 32, "steps": 1500, "clip": 1.0}
SETTINGS = {
    "rnn": {"lr": 3e-3, "remember": 0, **COMMON},
    "gru": {"lr": 1e-2, "remember": T, **COMMON},
    "lstm": {"lr": 1e-2, "remember": T, **COMMON},
}
GRID = [{"remember": 0}, {"remember": T}]
VALIDATION_SEED, TEST_SEED = 1_000, 2_000


def sequences(count: int, generator: torch.Generator) -> tuple[Ragged, Tensor]:
    """Inputs (count sequences of (T, 2)) and targets (count, 1)."""
    numbers = torch.rand(count, T, generator=generator)
    places = torch.rand(count, T, generator=generator).topk(2, dim=1).indices
    marks = torch.zeros(count, T).scatter_(1, places, 1.0)
    return Ragged.from_padded(torch.stack([numbers, marks], dim=2)), (numbers * marks).sum(1, keepdim=True)


@torch.no_grad()
def evaluate(model: Model, part: tuple[Ragged, Tensor]) -> float:
    return float((model(part[0]) - part[1]).square().mean())


def main() -> None:
    args = options(__doc__ or "")
    validation = sequences(1000, torch.Generator().manual_seed(VALIDATION_SEED))
    test = sequences(1000, torch.Generator().manual_seed(TEST_SEED))

    def run(cell: str, seed: int, chosen: dict[str, Any], with_test: bool) -> dict[str, Any]:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = Model(cell, 2, HIDDEN, 1, last=True, remember=chosen["remember"])
        check_native(model, test[0])
        optimizer = torch.optim.Adam(model.parameters(), lr=chosen["lr"])
        steps = 10 if args.quick else chosen["steps"]
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        start, curve = time.perf_counter(), []
        for k in range(1, steps + 1):
            x, y = sequences(chosen["batch"], generator)
            step(model, optimizer, (model(x) - y).square().mean(), chosen["clip"])
            scheduler.step()
            if k % 250 == 0:
                curve.append(round(evaluate(model, validation), 6))
        answer: dict[str, Any] = {
            "validation": evaluate(model, validation),
            "seconds": round(time.perf_counter() - start, 1),
            "parameters": model.parameter_count(),
            "validation_every_250_steps": curve,
        }
        if with_test:
            answer["test"] = {"mse": evaluate(model, test)}
        return answer

    facts = {
        "published": {"rnn": 0.177, "gru": 5.3e-5, "lstm": 0.164, "T": 600},
        "source": "Bai, Kolter & Koltun 2018, Table 1",
        "T": T,
        "hidden": HIDDEN,
        "answering_1": 1 / 6,
        "validation_and_test": "1,000 sequences each; the model after the last step",
    }
    run_all("adding", args, SETTINGS, GRID, run, facts)


if __name__ == "__main__":
    main()
