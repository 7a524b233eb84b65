"""What `calibrate` does to probabilities, on rows of the training parts alone: `python -m benchmarks.calibration`.

Of each set's training part a fifth is set apart; the model holds a tenth of the rest back, as ever, and its temperature
comes from these. A table: cross-entropy, calibration error and Brier score before and after, mean of the seeds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from unspool import SequenceClassifier
from unspool.evaluation.calibration import calibration_of

DATA = Path("../shared/data")
Rows = tuple[list[str], np.ndarray]


def lines(name: str) -> Rows:
    """A label, a blank, a text a line; of TREC the coarse label."""
    raw = (DATA / "sentence_classification" / name).read_bytes().decode("latin-1").splitlines()
    pairs = [line.split(" ", 1) for line in raw if " " in line]
    return [text for _, text in pairs], np.array([label.split(":")[0] for label, _ in pairs])


def intents(name: str) -> Rows:
    """The intents of ATIS or SNIPS."""
    folder = DATA / "slot_filling" / name / "train"
    texts = (folder / "seq.in").read_text().splitlines()
    return texts, np.array([v.strip() for v in (folder / "label").read_text().splitlines()])


def grades() -> Rows:
    """EmoBank's valence, in five bands of which none is small."""
    import polars as pl

    frame = pl.read_csv(DATA / "emobank" / "emobank.csv").filter(pl.col("split") == "train")
    return frame["text"].to_list(), np.digitize(frame["V"].to_numpy(), [2.6, 2.9, 3.1, 3.4])


SETS = {
    "TREC": (lambda: lines("TREC.train.all"), {}),
    "subj": (lambda: lines("subj.all"), {}),
    "custrev": (lambda: lines("custrev.all"), {}),
    "ATIS intents": (lambda: intents("atis"), {}),
    "SNIPS intents": (lambda: intents("snips"), {}),
    "EmoBank, 5 grades": (grades, {"order": "auto"}),
}


def measured(name: str, blend: bool | None, seed: int) -> tuple[float, ...]:
    """(temperature, log loss, ECE, Brier before, then after)."""
    read, more = SETS[name]
    X, y = read()
    counts = dict(zip(*np.unique(y, return_counts=True), strict=True))
    keep = [i for i, label in enumerate(y.tolist()) if counts[label] > 3]
    X, y = [X[i] for i in keep], y[keep]
    train, held, y_train, y_held = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y)
    model = SequenceClassifier(random_state=seed, verbose=0, blend=blend, calibrate=True, **more)
    model.fit(train, y_train)
    found = calibration_of(model, held, y_held)
    order = np.argsort(model.classes_)
    losses = [
        log_loss(y_held, m.predict_proba(held)[:, order], labels=model.classes_[order])
        for m in (model.uncalibrated(), model)
    ]
    pairs = [(found[when]["ece"], found[when]["brier"]) for when in ("before", "after")]
    return (found["temperature"], losses[0], *pairs[0], losses[1], *pairs[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print("| set | model | temperature | log loss | ECE | Brier |\n|---|---|---|---|---|---|")
    for name in options.sets:
        for blend in (None, False):
            rows = np.array([measured(name, blend, seed) for seed in range(options.seeds)]).mean(0)
            kind = "network alone" if blend is False else "with the blend"
            pairs = " | ".join(f"{rows[1 + k]:.4f} -> {rows[4 + k]:.4f}" for k in range(3))
            print(f"| {name} | {kind} | {rows[0]:.2f} | {pairs} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
