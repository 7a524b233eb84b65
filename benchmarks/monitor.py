"""Whether the epoch of the least validation loss or of the best validation metric is the better one to keep.

    python benchmarks/monitor.py custrev trec emobank subj --vectors none

No test part is read: what is kept is measured on a fifth of the training part that is held out of it (EmoBank: on its
dev part). One training of --epochs epochs a set, the network alone; where each rule would have stopped, after 4 epochs
without a better one, is told from its history. A line: accuracy, or the mean of EmoBank's three Pearson r.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from recipe import SETS, VECTORS, read, scores

import unspool
from unspool.encode import Raw
from unspool.estimators.monitoring import outputs_of
from unspool.tables.split import by_fraction
from unspool.training import Callback

PATIENCE = 4


class Held(Callback):
    """What the network of each epoch has right on rows that the fit does not know."""

    def __init__(self, model: Any, X: list[str], y: np.ndarray) -> None:
        self.model, self.X, self.y = model, X, y
        self.scores: list[float] = []

    def on_epoch_end(self, trainer: Any) -> None:
        own = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
        trainer.network.load_state_dict(trainer.weights())  # the averaged ones
        outputs = outputs_of(trainer.network, self.model.input_.encode(Raw("text", self.X)))
        trainer.network.load_state_dict(own)
        self.scores.append(float(scores(np.asarray(self.model.task_.decode(outputs)), self.y).mean()))


def parts(name: str) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
    """(texts, targets, held-out texts, targets) of the training part."""
    X, y, _, _, validation = read(name)
    if validation is not None:
        return X, y, *validation
    split = by_fraction(len(X), 0.2, 5, y)
    train, held = ([X[i] for i in rows] for rows in (split.train, split.test))
    return train, y[split.train], held, y[split.test]


def kept(values: list[float]) -> int:
    """The epoch, from 0, that is best when `PATIENCE` epochs without a better value have passed."""
    best = 0
    for epoch, value in enumerate(values):
        if value > values[best]:
            best = epoch
        if epoch - best >= PATIENCE:
            break
    return best


def run(name: str, vectors: str, seed: int, epochs: int) -> None:
    """One training; a line."""
    X, y, held, z = parts(name)
    make = unspool.SequenceRegressor if y.dtype.kind == "f" else unspool.SequenceClassifier
    settings = {"epochs": epochs, "patience": epochs, "monitor": "metric", "blend": False}
    model = make(vectors=VECTORS[vectors], random_state=seed, verbose=0, **settings)
    look, started = Held(model, held, z), time.process_time()
    model.fit(X, y, callbacks=[look])
    by = {
        "loss": kept([-row["validation_loss"] for row in model.history_]),
        "metric": kept([row["validation_score"] for row in model.history_]),
    }
    told = ", ".join(f"{rule} {look.scores[epoch]:.4f} (epoch {epoch + 1})" for rule, epoch in by.items())
    seconds = time.process_time() - started
    print(f"{name}, {vectors}, seed {seed}: {told}; best {max(look.scores):.4f}; {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="SET", help=f"{', '.join(SETS)}; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--vectors", nargs="+", choices=list(VECTORS), default=list(VECTORS))
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    for seed in given.seeds:
        for vectors in given.vectors:
            for name in given.names or SETS:
                run(name, vectors, seed, given.epochs)


if __name__ == "__main__":
    main()
