"""Sentences of a small grammar: names of people after a title, places of two words after "in", and what is asked."""

from __future__ import annotations

import random

TITLES, PEOPLE = ["mr", "dr", "ms"], ["Smith", "Jones", "Brown", "Lee", "Khan", "Patel"]
PLACES = [["New", "York"], ["San", "Jose"], ["Las", "Vegas"], ["Santa", "Fe"]]


def sentences(count: int, seed: int = 0) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """(tokens, BIO tags, labels)."""
    rng = random.Random(seed)
    X, y, labels = [], [], []
    for _ in range(count):
        tokens, tags, label = [], [], rng.choice(["ask", "tell"])
        tokens += ["does" if label == "ask" else "today"]
        tags += ["O"]
        for _ in range(rng.randrange(1, 3)):
            tokens += [rng.choice(TITLES), rng.choice(PEOPLE), "lives", "in", *rng.choice(PLACES)]
            tags += ["O", "B-PER", "O", "O", "B-LOC", "I-LOC"]
        X.append(tokens)
        y.append(tags)
        labels.append(label)
    return X, y, labels
