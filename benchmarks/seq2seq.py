"""Spelling to phones on the CMU dictionary, stress off: word error and phone error beside the baselines.

    python benchmarks/seq2seq.py --seeds 0 1 2     # trains, saves each model under benchmarks/results/seq2seq
    python benchmarks/seq2seq.py --seeds 0 --dev   # looks at the validation part alone

Words are drawn into parts by a fixed seed: 12,000 test, 3,000 validation, the rest training; a word is in one part with
all its pronunciations. A word is right if any listed pronunciation is given; phone errors count from the nearest one.
Needs ../shared/data/cmudict. Seconds are of the processor: the machine may do other work meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.record import ROOT, setting

import unspool
from unspool.evaluation.texts import text_metrics
from unspool.files import write_text
from unspool.seq2seq.baselines import NearestPair, TokenByToken
from unspool.seq2seq.sides import Side

DICTIONARY = ROOT.parent / "shared" / "data" / "cmudict" / "cmudict"
RESULTS = ROOT / "benchmarks" / "results" / "seq2seq"
TEST, VALIDATION, DRAW = 12_000, 3_000, 0
SETTINGS: dict[str, Any] = {
    "target_level": "word",
    "hidden_size": 192,
    "epochs": 8,
    "batch_size": 128,
    "learning_rate": 3e-3,
    "schedule": "one_cycle",
    "dropout": 0.2,
}
BEAMS: dict[str, Any] = {"num_beams": 5, "length_penalty": 0.0}
Words = dict[str, list[str]]


def dictionary(path: Path = DICTIONARY) -> Words:
    """Word -> its pronunciations without stress, each once, in their order."""
    found: Words = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        word, _, *phones = line.split()
        said = " ".join(re.sub(r"\d", "", phone) for phone in phones)
        known = found.setdefault(word, [])
        if said not in known:
            known.append(said)
    return found


def parts(words: Words) -> tuple[Words, Words, Words]:
    """(training, validation, test)."""
    names = sorted(words)
    order = [names[i] for i in np.random.default_rng(DRAW).permutation(len(names))]
    cuts = (order[TEST + VALIDATION :], order[TEST : TEST + VALIDATION], order[:TEST])
    train, validation, test = ({word: words[word] for word in part} for part in cuts)
    return train, validation, test


def pairs(words: Words) -> tuple[list[str], list[str]]:
    """A row for each pronunciation."""
    rows = [(word, said) for word, known in words.items() for said in known]
    return [word for word, _ in rows], [said for _, said in rows]


def errors(predicted: list[str], words: Words) -> dict[str, float | None]:
    """Word error and phone error, per cent."""
    found = text_metrics(predicted, list(words.values()))
    assert found["exact_match"] is not None and found["wer"] is not None
    return {"word_error": 100 * (1 - found["exact_match"]), "phone_error": 100 * found["wer"]}


def run(seed: int, train: Words, validation: Words, seen: Words, part: str) -> dict[str, Any]:
    """Train, unless the model is there, and measure on `seen`."""
    place = RESULTS / f"model-{seed}.zip"
    facts = RESULTS / f"model-{seed}.json"
    if not place.exists():
        RESULTS.mkdir(parents=True, exist_ok=True)
        model = unspool.Seq2Seq(**SETTINGS, random_state=seed)
        began, wall = time.process_time(), time.perf_counter()
        model.fit(*pairs(train), validation_data=pairs(validation))
        spent = {
            "cpu_seconds": time.process_time() - began,
            "wall_seconds": time.perf_counter() - wall,
            "threads": torch.get_num_threads(),
        }
        model.save(place)
        write_text(facts, json.dumps({**spent, "epochs": model.history_, "settings": SETTINGS}, indent=1))
    model = unspool.load(place).freeze()
    row: dict[str, Any] = {"seed": seed, "part": part, **json.loads(facts.read_text())}
    for name, decoding in (("greedy", {}), ("beams", BEAMS)):
        began = time.process_time()
        predicted = model.predict(list(seen), **decoding).tolist()
        row[name] = {**errors(predicted, seen), "seconds": time.process_time() - began}
    return row


def baselines(train: Words, seen: Words) -> dict[str, dict[str, float | None]]:
    """The errors of both."""
    X, y = pairs(train)
    sides = Side.fit("source", X, "char", 10000), Side.fit("target", y, "word", 10000)
    models: list[Any] = [NearestPair(), TokenByToken(*sides)]
    return {m.name: errors(m.fit(X, y).predict(list(seen)), seen) for m in models}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dev", action="store_true", help="measure on the validation part")
    options = parser.parse_args()
    before = setting()
    train, validation, test = parts(dictionary())
    seen, part = (validation, "validation") if options.dev else (test, "test")
    print(f"{len(train):,} training, {len(validation):,} validation, {len(test):,} test words", flush=True)
    rows = []
    print(f"{part:24} {'word error':>10} {'phone error':>11} {'cpu s':>7}")
    for name, found in baselines(train, seen).items():
        print(f"{name:24} {found['word_error']:10.2f} {found['phone_error']:11.2f}", flush=True)
        rows.append({"baseline": name, **found})
    for seed in options.seeds:
        row = run(seed, train, validation, seen, part)
        rows.append(row)
        for name in ("greedy", "beams"):
            found = row[name]
            print(
                f"{f'seed {seed}, {name}':24} {found['word_error']:10.2f} {found['phone_error']:11.2f} "
                f"{row['cpu_seconds']:7.0f}",
                flush=True,
            )
    text = json.dumps({"rows": rows, "beams": BEAMS, "before": before}, indent=1)
    write_text(RESULTS / f"{part}.json", text + "\n")


if __name__ == "__main__":
    main()
