"""EmoBank's valence ratings, cut into the official parts and turned into word ids.

The rules are those of Keras's `TextVectorization(max_tokens=10_000)`: lower case, punctuation taken out,
split on white space; id 0 is the pad, 1 an unknown word, then the most frequent words of the training part.
Every tool gets these same ids.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EMOBANK = Path(__file__).resolve().parents[2] / "../shared/data/emobank/emobank.csv"
PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']")
MAX_WORDS = 10_000
UNKNOWN = 1


@dataclass(frozen=True)
class Part:
    """One part of the split: `texts`, their word `ids` (int64 arrays of uneven length), `score` (B,), 1-5."""

    texts: list[str]
    ids: list[np.ndarray]
    score: np.ndarray

    def take(self, index: np.ndarray) -> Part:
        return Part([self.texts[i] for i in index], [self.ids[i] for i in index], self.score[index])


@dataclass(frozen=True)
class SeedData:
    """The three parts; `mean` and `deviation` are the training part's, for the standardised target."""

    train: Part
    dev: Part
    test: Part

    @property
    def mean(self) -> float:
        return float(self.train.score.mean())

    @property
    def deviation(self) -> float:
        return float(self.train.score.std())

    def scaled(self, part: Part) -> np.ndarray:
        """`part.score` with the training part's mean 0 and deviation 1, float32 (B,)."""
        return ((part.score - self.mean) / self.deviation).astype(np.float32)

    def unscaled(self, prediction: np.ndarray) -> np.ndarray:
        """A prediction on the standardised target, back on the 1-5 scale, float64 (B,)."""
        return np.asarray(prediction, np.float64).reshape(-1) * self.deviation + self.mean


def words(text: str) -> list[str]:
    return PUNCTUATION.sub("", text.lower()).split()


def vocabulary(texts: list[str]) -> dict[str, int]:
    """Word -> id of the 9,998 most frequent words; ties in alphabetical order."""
    count = Counter(word for text in texts for word in words(text))
    ranked = sorted(count, key=lambda word: (-count[word], word))
    return {word: i for i, word in enumerate(ranked[: MAX_WORDS - 2], start=2)}


def encode(texts: list[str], ids: dict[str, int]) -> list[np.ndarray]:
    """Word ids; a text of punctuation alone is one unknown word, because packing refuses a length of 0."""
    return [np.array([ids.get(w, UNKNOWN) for w in words(t)] or [UNKNOWN], np.int64) for t in texts]


def load(path: Path = EMOBANK) -> SeedData:
    if not path.exists():
        raise SystemExit(
            f"EmoBank not found: {path}. Put corpus/emobank.csv of github.com/JULIELab/EmoBank there "
            "or give its place with --data."
        )
    rows: dict[str, list[dict[str, str]]] = {"train": [], "dev": [], "test": []}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows[row["split"]].append(row)
    ids = vocabulary([row["text"] for row in rows["train"]])

    def part(name: str) -> Part:
        texts = [row["text"] for row in rows[name]]
        return Part(texts, encode(texts, ids), np.array([float(row["V"]) for row in rows[name]]))

    return SeedData(part("train"), part("dev"), part("test"))
