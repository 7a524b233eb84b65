"""Learn slots and intents from sentences, tag new ones, save the model and load it again.

    python examples/tagging.py

Sentences of your own: `unspool.tagging.read_tagged("slots.jsonl", label="intent")` has tokens, tags and labels.
Marks on real data, whose figures are in docs/results.md: ATIS slots 95.8 F1, intents 97.0; SNIPS 92.2 and 97.5.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from unspool import SequenceTagger, load

CITIES = [
    ["new", "york"],
    ["san", "jose"],
    ["boston"],
    ["salt", "lake", "city"],
    ["denver"],
    ["las", "vegas"],
]


def invented(count: int, seed: int = 0) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """(tokens, tags, intents) of questions about flights and fares."""
    draw = random.Random(seed)
    X, y, intents = [], [], []
    for _ in range(count):
        intents.append(draw.choice(["flight", "fare"]))
        first = ["show", "flights"] if intents[-1] == "flight" else ["how", "much", "is", "it"]
        start, end = draw.sample(CITIES, 2)
        X.append([*first, "from", *start, "to", *end])
        ends = [
            [f"B-{name}", *[f"I-{name}"] * (len(city) - 1)] for name, city in (("from", start), ("to", end))
        ]
        y.append([*["O"] * len(first), "O", *ends[0], "O", *ends[1]])
    return X, y, intents


def main() -> None:
    """Train, measure, tag, save, load."""
    X, y, intents = invented(200)
    cut = len(X) * 4 // 5
    model = SequenceTagger(hidden_size=32, epochs=6, learning_rate=5e-3, random_state=0)
    model.fit(X[:cut], y[:cut], intents[:cut])
    for name, value in model.measure(X[cut:], y[cut:], intents[cut:]).shown().items():
        print(f"{name}: {value:.3f}")
    for sentence in X[cut : cut + 2]:
        print(" ".join(sentence), "->", model.predict_labels([sentence])[0], model.spans([sentence])[0])
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "tagger")
        assert load(Path(folder) / "tagger").predict(X) == model.predict(X)


if __name__ == "__main__":
    main()
