"""Write the human valence ratings of the VADER lexicon as a table for `unspool fit`.

    python examples/valence.py valence.csv

7,500 English words and emoticons, each with the mean of ten people's ratings from -4 (most negative) to +4.
Source: the file vader_lexicon.txt inside the package vaderSentiment (MIT licence), of C. J. Hutto and
E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.

Columns: text, valence, split. A tenth of the words is for validation and a fifth for the test, drawn by a
fixed seed. Words of one family (foolish, foolishness) may stand in different parts, for the model and for
the baselines alike: the task is to read new words, many of which have known relatives.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import polars as pl

SEED = 0
SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}


def lexicon() -> list[tuple[str, float]]:
    """(word, mean valence) of each entry; words that are listed twice are taken once."""
    spec = importlib.util.find_spec("vaderSentiment")
    if spec is None or spec.origin is None:
        raise SystemExit("The package vaderSentiment is missing: pip install vaderSentiment")
    lines = Path(spec.origin).with_name("vader_lexicon.txt").read_text(encoding="utf-8").splitlines()
    entries: dict[str, float] = {}
    for line in lines:
        if line.strip():
            word, mean, _deviation, _ratings = line.split("\t")
            entries.setdefault(word, float(mean))
    return list(entries.items())


def main(path: Path) -> None:
    words, ratings = zip(*lexicon(), strict=True)
    order = np.random.default_rng(SEED).permutation(len(words))
    bounds = np.cumsum([round(share * len(words)) for share in list(SHARES.values())[:-1]])
    split = np.empty(len(words), dtype=object)
    for name, rows in zip(SHARES, np.split(order, bounds), strict=True):
        split[rows] = name
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"text": words, "valence": ratings, "split": split.tolist()}).write_csv(path)
    print(f"{path}: {len(words)} words and emoticons, mean valence {np.mean(ratings):.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/valence.py OUT.csv")
    main(Path(sys.argv[1]))
