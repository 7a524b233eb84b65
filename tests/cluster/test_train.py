"""`fit` inside Ray Train, as in examples/ray_train.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import unspool

from .test_study import SMALL, reviews

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_train.py"


@pytest.fixture
def example(nodes, monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "60")
    from ray import cloudpickle

    spec = importlib.util.spec_from_file_location("ray_train_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "ray_train_example", module)
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    yield module
    cloudpickle.unregister_pickle_by_value(module)


def test_the_example(example, tmp_path):
    texts, labels = reviews(120)
    scores = labels.astype(float)
    settings = {**SMALL, "epochs": 2, "random_state": 0, "verbose": 0}
    model, told = example.fit_on_cluster(texts, scores, 2, tmp_path, **settings)
    assert told["workers"] == 2
    alone = unspool.SequenceRegressor(**settings).fit(texts, scores)
    losses = [
        [epoch["validation_loss"] for epoch in history] for history in (told["history"], alone.history_)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert np.allclose(model.predict(texts), alone.predict(texts), rtol=1e-4, atol=1e-5)
