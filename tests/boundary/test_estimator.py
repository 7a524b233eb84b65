"""Estimators fitted, and asked to predict, in other surroundings: the numbers of calm ones."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unspool import SequenceClassifier, SequenceRegressor, load

from .surroundings import ALL as SURROUNDINGS

CONTEXTS = {s.name: s for s in SURROUNDINGS if s.manager is not None and s.name != "calm"}
SMALL = {"hidden_size": 5, "embedding_dim": 3, "epochs": 2, "random_state": 0, "verbose": 0, "batch_size": 4}
WORDS = ["a b", "b c d", "c", "a d c b", "d", "b b a"]
KINDS = ["texts", "sparse", "series", "classes"]


def given(kind: str) -> tuple[Any, list[Any], Any]:
    """An estimator of the kind with its X and y."""
    random = np.random.default_rng(0)
    numbers = [float(k % 5) for k in range(18)]
    if kind == "series":
        series = [random.standard_normal((1 + k % 6, 2)).astype(np.float32) for k in range(18)]
        return SequenceRegressor(cell="gru", bidirectional=True, pooling="max", **SMALL), series, numbers
    if kind == "classes":
        return SequenceClassifier(dropout=0.2, **SMALL), WORDS * 3, ["x", "y", "z"] * 6
    update = "sparse" if kind == "sparse" else "dense"
    return SequenceRegressor(num_layers=2, embedding_update=update, **SMALL), WORDS * 3, numbers


@functools.cache
def calm(kind: str) -> tuple[Any, Any, Any]:
    """The estimator fitted and what it predicts, in calm surroundings; and its X."""
    model, X, y = given(kind)
    return model.fit(X, y), X, outputs(model, X)


def outputs(model: Any, X: Any) -> np.ndarray:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def check(got: np.ndarray, kind: str) -> None:
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, calm(kind)[2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_fit(kind: str, name: str) -> None:
    calm(kind)
    model, X, y = given(kind)
    with CONTEXTS[name].manager():
        model.fit(X, y)
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.network_.parameters())
    check(outputs(model, X), kind)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_predict(kind: str, name: str, frozen: bool) -> None:
    model, X, _ = calm(kind)
    with CONTEXTS[name].manager():
        if frozen:
            model.freeze()
        got = outputs(model, X)
    vars(model).pop("frozen_", None)
    check(got, kind)


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_load(kind: str, name: str, tmp_path: Path) -> None:
    model, X, _ = calm(kind)
    model.save(tmp_path / "model")
    with CONTEXTS[name].manager():
        again = load(tmp_path / "model")
    check(outputs(again, X), kind)


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_thread(kind: str) -> None:
    model, X, y = given(kind)
    check(in_thread(lambda: outputs(model.fit(X, y), X)), kind)
