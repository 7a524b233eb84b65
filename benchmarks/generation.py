"""Characters of tiny Shakespeare: nats a character after a short and a long training, beside n-grams; speed.

    python benchmarks/generation.py                  # both trainings, one seed, and the speed of generation
    python benchmarks/generation.py --only short --seeds 0 1 2
    python benchmarks/generation.py --only speed
    python benchmarks/generation.py --search '{"learning_rate": 0.004}'   # the short one, on the validation part alone

The last tenth of the text is the test part. Settings were chosen by trainings on the first 85 %, measured on the next
5 % (--search); those that count are on the first 90 %, as long as was chosen, and measured on the test part once.
On two free cores a training takes about half of its CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.record import ROOT, save, setting

from unspool import SequenceGenerator, _native
from unspool.generation import KneserNey
from unspool.generation.vocabulary import Characters
from unspool.training import Callback

DATA = ROOT.parent / "shared" / "data" / "tiny_shakespeare" / "input.txt"
COMMON: dict[str, Any] = {"hidden_size": 512, "batch_size": 32, "chunk_length": 64, "warmup": 50}
SETTINGS: dict[str, dict[str, Any]] = {
    "short": {**COMMON, "epochs": 4, "learning_rate": 4e-3, "dropout": 0.1},
    "long": {**COMMON, "epochs": 26, "learning_rate": 4e-3, "dropout": 0.3},
}
SPEEDS = [("float32", 1), ("bfloat16", 1), ("int8", 1), ("float32", 64), ("int8", 64)]


class Clock(Callback):
    """Wall and CPU seconds at each epoch, told as it goes."""

    def on_train_begin(self, trainer: Any) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.curve: list[dict[str, float]] = []

    def on_epoch_end(self, trainer: Any) -> None:
        row = {
            "wall": round(time.perf_counter() - self.wall, 1),
            "cpu": round(time.process_time() - self.cpu, 1),
            "train": round(trainer.history[-1]["train_loss"], 4),
        }
        if "validation_loss" in trainer.history[-1]:
            row["validation"] = round(trainer.history[-1]["validation_loss"], 4)
        self.curve.append(row)
        print("  ", row, flush=True)


def parts() -> tuple[str, str, str]:
    """(training, validation, test)."""
    if not DATA.exists():
        raise SystemExit(
            f"{DATA} is missing: data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn."
        )
    text = DATA.read_text(encoding="utf-8")
    bounds = [round(share * len(text)) for share in (0.85, 0.9)]
    return text[: bounds[0]], text[bounds[0] : bounds[1]], text[bounds[1] :]


def trained(
    settings: dict[str, Any], seed: int, search: bool = False, checkpoint: Path | None = None
) -> tuple[SequenceGenerator, Clock]:
    """Trained on training and validation part or, for a search, on the first and validated on the second."""
    train, validation, _ = parts()
    clock = Clock()
    model = SequenceGenerator(**settings, random_state=seed, verbose=0, early_stopping=False)
    if search:
        model.fit(train, validation_data=validation, callbacks=[clock], checkpoint=checkpoint)
    else:
        model.fit(train + validation, callbacks=[clock], checkpoint=checkpoint)
    return model, clock


def baseline() -> dict[str, Any]:
    """Interpolated modified Kneser-Ney, its order by the validation part."""
    train, validation, test = parts()
    vocabulary = Characters.fit([train], 10000)
    ids = [vocabulary.encode(part) for part in (train, validation, test, train + validation)]
    orders, start = {}, time.process_time()
    for order in range(3, 10):
        model = KneserNey(order, len(vocabulary)).fit(ids[:1])
        orders[order] = float(-model.score(ids[1]).mean())
    best = min(orders, key=lambda order: orders[order])
    model = KneserNey(best, len(vocabulary)).fit(ids[3:])
    answer = {
        "validation": {order: round(nats, 4) for order, nats in orders.items()},
        "order": best,
        "test": float(-model.score(ids[2]).mean()),
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    print(f"Kneser-Ney: {answer}")
    return answer


def speed(model: SequenceGenerator, characters: int = 3000) -> dict[str, Any]:
    """Characters a second by the clock, the best of five, and the CPU seconds that a million of them take."""
    answer = {}
    for weights, prompts in SPEEDS:
        model.freeze(weights)
        rates, cpus = [], []
        for _ in range(6):
            wall, cpu = time.perf_counter(), time.process_time()
            made = model.generate(["ROMEO:"] * prompts, max_new_tokens=characters, random_state=0)
            count = sum(map(len, made))
            rates.append(count / (time.perf_counter() - wall))
            cpus.append((time.process_time() - cpu) / count * 1e6)
        answer[f"{weights}, {prompts}"] = {
            "a_second": round(max(rates[1:])),
            "cpu_of_a_million": round(min(cpus[1:]), 1),
        }
        print(f"{weights}, {prompts} prompts: {answer[f'{weights}, {prompts}']}", flush=True)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["short", "long", "speed", "baseline"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--search", type=json.loads, help="settings instead of those of the short training")
    parser.add_argument("--checkpoint", type=Path, help="go on from here after an interruption")
    parser.add_argument("--model", type=Path, help="save the last trained model here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    before = setting()
    if args.search is not None:
        chosen = {**SETTINGS["short"], **args.search}
        print(chosen)
        trained(chosen, args.seeds[0], True, args.checkpoint)
        return
    results: dict[str, Any] = {"isa": _native.isa(), "threads": args.threads}
    if args.only in (None, "baseline"):
        results["kneser_ney"] = baseline()
    model = None
    test = parts()[2]
    for name in ("short", "long"):
        if args.only not in (None, name):
            continue
        runs = {}
        for seed in args.seeds:
            model, clock = trained(SETTINGS[name], seed, checkpoint=args.checkpoint)
            nats = model.evaluate(test)["nats_per_character"]
            last = clock.curve[-1]
            runs[seed] = {"test": nats, **last, "curve": clock.curve}
            print(
                f"{name}, seed {seed}: test {nats:.4f} after {last['cpu']} CPU s, {last['wall']} s",
                flush=True,
            )
        tests = [run["test"] for run in runs.values()]
        results[name] = {
            "settings": SETTINGS[name],
            "runs": runs,
            "mean": float(np.mean(tests)),
            "deviation": float(np.std(tests, ddof=1)) if len(tests) > 1 else 0.0,
        }
    if args.only in (None, "speed"):
        if model is None:
            model, _ = trained({**SETTINGS["short"], "epochs": 1, "chunk_length": 512}, 0)
        results["characters"] = speed(model)
    if args.model is not None and model is not None:
        model.save(args.model)
    save("generation" if args.only is None else f"generation_{args.only}", results, before)


if __name__ == "__main__":
    main()
