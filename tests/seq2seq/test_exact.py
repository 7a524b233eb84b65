"""What a recurrent network can learn exactly, it does: dates it has never seen, sums it has never seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from unspool import Seq2Seq

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "seq2seq.py"
SETTINGS = {
    "embedding_dim": 24,
    "dropout": 0.0,
    "learning_rate": 0.01,
    "schedule": "one_cycle",
    "early_stopping": False,
    "random_state": 0,
    "verbose": 0,
}


def test_dates_of_five_forms():
    spec = importlib.util.spec_from_file_location("dates", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    X, y = example.dates(2500)
    model = Seq2Seq(**SETTINGS, hidden_size=48, batch_size=32, epochs=6).fit(X[:2000], y[:2000])
    assert model.score(X[2000:], y[2000:]) == 1.0


def test_sums_of_two_numbers():
    pairs = np.random.default_rng(0).permutation(8100)
    a, b = pairs // 90 + 10, pairs % 90 + 10
    X, y = [f"{p}+{q}" for p, q in zip(a, b)], [str(p + q) for p, q in zip(a, b)]
    settings = {**SETTINGS, "hidden_size": 64, "batch_size": 64, "epochs": 9, "averaging": 0.99}
    model = Seq2Seq(**settings).fit(X[:7800], y[:7800])
    assert model.score(X[7800:], y[7800:]) == 1.0
    assert model.predict(["99+99", "10+10"], num_beams=3).tolist() == ["198", "20"]
