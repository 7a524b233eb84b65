"""Copy memory (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016): repeat ten symbols after a long pause.

    python benchmarks/reproduce/copy_memory.py             # three cells, three seeds
    python benchmarks/reproduce/copy_memory.py --quick
    python benchmarks/reproduce/copy_memory.py --search    # how the settings were chosen

Inputs, one-hot of 10: ten symbols of 1 to 8, T - 1 blanks, then eleven marks. Targets: T + 10 blanks, then the ten
symbols. Loss: cross-entropy in nats, mean over all T + 20 steps; blanks first and then a guess among the eight
symbols have 10 ln 8 / (T + 20). Accuracy: share of the ten symbols that are right (a guess: 12.5 %).
Published at T = 1000 (Bai, Kolter & Koltun 2018, Table 1): RNN .0202, GRU .0197, LSTM .0204, the guess being .0204.
Here T = 20 and 128 units; every batch is fresh, the learning rate falls to 0 along half a cosine.
"remember": gates that start open for up to that many steps (`common.remember_for`).
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from common import Model, check_native, options, run_all, step
from torch import Tensor, nn

from unspool import Ragged

T, SYMBOLS, HIDDEN = 20, 10, 128
DISTANCE = T + SYMBOLS
COMMON = {"batch": 32, "steps": 8000, "clip": 1.0}
SETTINGS = {
    "rnn": {"lr": 3e-3, "remember": 0, **COMMON},
    "gru": {"lr": 1e-2, "remember": DISTANCE, **COMMON},
    "lstm": {"lr": 1e-2, "remember": DISTANCE, **COMMON},
}
GRID = [{"remember": 0}, {"remember": DISTANCE}]
VALIDATION_SEED, TEST_SEED = 1_000, 2_000


def sequences(count: int, generator: torch.Generator) -> tuple[Ragged, Tensor]:
    """Inputs (count sequences of (T + 20, 10)) and targets (count * (T + 20),)."""
    symbols = torch.randint(1, 9, (count, SYMBOLS), generator=generator)
    x = torch.zeros(count, T + 2 * SYMBOLS, dtype=torch.int64)
    y = torch.zeros_like(x)
    x[:, :SYMBOLS], x[:, -SYMBOLS - 1 :], y[:, -SYMBOLS:] = symbols, 9, symbols
    return Ragged.from_padded(nn.functional.one_hot(x, 10).float()), y.flatten()


@torch.no_grad()
def evaluate(model: Model, part: tuple[Ragged, Tensor]) -> tuple[float, float]:
    """(loss, accuracy of the ten symbols)."""
    scores, y = model(part[0]), part[1]
    asked = y > 0
    right = float((scores.argmax(1) == y)[asked].float().mean())
    return float(nn.functional.cross_entropy(scores, y)), right


def main() -> None:
    args = options(__doc__ or "")
    validation = sequences(500, torch.Generator().manual_seed(VALIDATION_SEED))
    test = sequences(1000, torch.Generator().manual_seed(TEST_SEED))

    def run(cell: str, seed: int, chosen: dict[str, Any], with_test: bool) -> dict[str, Any]:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = Model(cell, 10, HIDDEN, 10, remember=chosen["remember"])
        check_native(model, test[0])
        optimizer = torch.optim.Adam(model.parameters(), lr=chosen["lr"])
        steps = 20 if args.quick else chosen["steps"]
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        start, curve = time.perf_counter(), []
        for k in range(1, steps + 1):
            x, y = sequences(chosen["batch"], generator)
            step(model, optimizer, nn.functional.cross_entropy(model(x), y), chosen["clip"])
            scheduler.step()
            if k % 250 == 0:
                curve.append(round(evaluate(model, validation)[0], 6))
        answer: dict[str, Any] = {
            "validation": evaluate(model, validation)[0],
            "seconds": round(time.perf_counter() - start, 1),
            "parameters": model.parameter_count(),
            "validation_every_250_steps": curve,
        }
        if with_test:
            loss, accuracy = evaluate(model, test)
            answer["test"] = {"loss": loss, "accuracy": accuracy}
        return answer

    facts = {
        "published": {"rnn": 0.0202, "gru": 0.0197, "lstm": 0.0204, "T": 1000},
        "source": "Bai, Kolter & Koltun 2018, Table 1",
        "T": T,
        "hidden": HIDDEN,
        "guess": SYMBOLS * math.log(8) / (T + 2 * SYMBOLS),
        "validation_and_test": "500 and 1,000 sequences; the model after the last step",
    }
    run_all("copy_memory", args, SETTINGS, GRID, run, facts)


if __name__ == "__main__":
    main()
