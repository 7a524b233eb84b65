"""Small fits whose numbers are kept in golden.json: `python -m tests.estimators.golden` writes it anew.

They hold the estimators to the same bits while their code moves. What the engine computes is not theirs, so the
file also has the numbers of single layers (`probe`): where those differ, only the tolerances are checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unspool import Ragged, SequenceClassifier, SequenceRegressor, nn

FILE = Path(__file__).with_name("golden.json")
SETTINGS = {
    "hidden_size": 7,
    "embedding_dim": 5,
    "batch_size": 8,
    "epochs": 3,
    "random_state": 3,
    "verbose": 0,
}
SETTINGS["learning_rate"] = 0.02
# The defaults of the time when the numbers were written.
SETTINGS |= {"bidirectional": False, "pooling": "last", "dropout": 0.0, "input_dropout": 0.0}
SETTINGS |= {"weight_decay": 0.0, "label_smoothing": 0.0, "averaging": 0.0, "vectors": None, "blend": False}
SHOWN = 6  # predictions that the file holds; of all of them a digest


def texts(count: int = 70, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(texts of 1 to 9 of 26 words, numbers, labels)."""
    random = np.random.RandomState(seed)
    words = [letter * (1 + k % 3) for k, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
    rows = [random.randint(0, 26, random.randint(1, 10)) for _ in range(count)]
    y = np.array([3.0 + row.mean() / 5 for row in rows])
    return [" ".join(words[i] for i in row) for row in rows], y, np.digitize(y, [5.0, 6.2])


def ids(largest: int = 19, count: int = 70) -> tuple[Ragged, np.ndarray]:
    random = np.random.RandomState(1)
    rows = [random.randint(1, largest + 1, random.randint(1, 9)).tolist() for _ in range(count)]
    rows[0][0] = largest
    return Ragged.from_list(rows), np.array([np.mean(row) for row in rows])


def series() -> tuple[list[np.ndarray], np.ndarray]:
    random = np.random.RandomState(2)
    rows = [random.randn(random.randint(1, 9), 3) * [1, 20, 0.1] + 4 for _ in range(70)]
    return rows, np.array([row[-1, 0] for row in rows])


def _texts(kind: str, **settings: Any) -> Any:
    X, y, labels = texts()
    if kind == "numbers":
        return SequenceRegressor(**{**SETTINGS, **settings}).fit(X, y), X
    names = np.array(["low", "mid", "top"])[labels]
    return SequenceClassifier(**{**SETTINGS, **settings}).fit(X, names), X


def _several(**settings: Any) -> Any:
    X, y, _ = texts()
    return SequenceRegressor(**{**SETTINGS, **settings}).fit(X, np.stack([y, -100 * y + 7, y**2], 1)), X


def _ids(**settings: Any) -> Any:
    X, y = ids()
    return SequenceRegressor(**{**SETTINGS, **settings}).fit(X, y), X


def _large_table() -> Any:
    X, y = ids(9000, 60)
    model = SequenceRegressor(
        **{**SETTINGS, "embedding_dim": 128, "weight_decay": 0.01}, early_stopping=False
    )
    return model.fit(X, y), X


def _series(**settings: Any) -> Any:
    X, y = series()
    return SequenceRegressor(**{**SETTINGS, **settings}).fit(X, y), X


def _weighted(**settings: Any) -> Any:
    X, _, labels = texts()
    weights = np.linspace(0, 3, 70)
    classifier = SequenceClassifier(**{**SETTINGS, **settings}).fit(X, labels, sample_weight=weights)
    return classifier, X


def _validated() -> Any:
    X, y, _ = texts()
    fresh = texts(30, 5)
    model = SequenceRegressor(**{**SETTINGS, "epochs": 30, "learning_rate": 0.1}, patience=2)
    return model.fit(X, y, validation_data=fresh[:2]), X


CASES: dict[str, Callable[[], Any]] = {
    "words": lambda: _texts("numbers"),
    "characters": lambda: _texts("numbers", level="char", pooling="mean+max", cell="gru"),
    "words, classes": lambda: _texts("classes", bidirectional=True),
    "characters, classes": lambda: _texts("classes", level="char", cell="rnn", pooling="attention"),
    "stopped early": _validated,
    "no validation": lambda: _texts("numbers", early_stopping=False, pooling="first"),
    "clipped": lambda: _texts("numbers", gradient_clip=0.01, gradient_clip_value=0.003),
    "not clipped": lambda: _texts("classes", gradient_clip=None),
    "dropout": lambda: _texts("numbers", dropout=0.3, num_layers=2, dense=(6,), bidirectional=True),
    "noise in the layers": lambda: _texts(
        "classes", input_dropout=0.2, recurrent_dropout=0.1, zoneout=(0.05, 0.2), weight_dropout=0.1
    ),
    "sparse embedding": lambda: _texts("numbers", embedding_update="sparse", weight_decay=0.01),
    "several targets": _several,
    "ids": lambda: _ids(num_layers=2, connection="residual", merge="sum", bidirectional=True, pooling="max"),
    "embedding by rows": _large_table,
    "series": lambda: _series(hidden_size=(6, 4)),
    "weighted": lambda: _weighted(cell="gru"),
}


def measure(case: str) -> dict[str, Any]:
    """What a case gives, every float in hexadecimal."""
    model, X = CASES[case]()
    outputs = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    flat = np.ascontiguousarray(outputs, np.float64)
    times = ("train_seconds", "seconds")
    return {
        "history": [
            {k: float(v).hex() for k, v in epoch.items() if k not in times} for epoch in model.history_
        ],
        "best_epoch": model.best_epoch_,
        "predictions": [float(v).hex() for v in flat.reshape(-1)[:SHOWN]],
        "digest": hashlib.sha256(flat.tobytes()).hexdigest(),
    }


def probe() -> str:
    """A digest of outputs and gradients of single layers, and of torch's own arithmetic."""
    total = hashlib.sha256()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        x = Ragged.from_list([torch.randn(n, 5) for n in (4, 1, 7)])
        for kind in (nn.LSTM, nn.GRU, nn.RNN):
            layer = kind(5, 7, bidirectional=True)
            output = layer(x)[0].values
            output.square().sum().backward()
            dense = torch.nn.functional.linear(output, torch.randn(9, 14)).softmax(1)
            for t in (output, dense, *(p.grad for p in layer.parameters())):
                total.update(t.detach().numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    cases = {case: measure(case) for case in CASES}
    FILE.write_text(
        json.dumps({"torch": torch.__version__, "probe": probe(), "cases": cases}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
