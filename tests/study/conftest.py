"""Texts whose class can be computed, and studies whose runs are made up, so that scores and times are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import unspool
from unspool import study
from unspool.study import jobs

TWO = ["gru/last/one", "lstm/mean+max/stacked"]
WORTH = {"good": 1.0, "fine": 0.5, "dull": -0.5, "awful": -1.0}
SMALL = {"hidden_size": 6, "embedding_dim": 6, "epochs": 2, "batch_size": 16, "learning_rate": 0.02}


def reviews(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, and the sums (n,) of their words' worth."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice([*WORTH, "the", "day", "was"], rng.integers(2, 7))) for _ in range(n)]
    return texts, np.array([sum(WORTH.get(word, 0.0) for word in text.split()) for text in texts])


@pytest.fixture
def small():
    return unspool.SequenceClassifier(**SMALL)


@pytest.fixture
def made_up(monkeypatch):
    """`made_up(score)`: runs take 10 s of a clock of their own and score `score(name, repeat, fold)`.

    The result's `seen` lists the tasks in the order in which they ran.
    """

    def install(score):
        clock = SimpleNamespace(now=0.0, seen=[])

        def perform(problem, task):
            if task.arrangement is None:
                return []
            clock.seen.append((task.name, task.repeat, task.fold))
            started = clock.now
            clock.now += 10.0
            value = score(task.name, task.repeat, task.fold)
            run = jobs.Run(
                name=task.name,
                repeat=task.repeat,
                fold=task.fold,
                seed=problem.seed(task.repeat),
                hidden_size=task.hidden_size,
                validation={"accuracy": value, "macro_f1": value, "log_loss": 1.0},
                seconds=clock.now - started,
                train_seconds=9.0,
                history=[{"epoch": 1, "train_loss": 1.0, "validation_loss": 1.0}],
                error="The loss became nan in epoch 1." if value is None else None,
            )
            return [run]

        monkeypatch.setattr(jobs, "perform", perform)
        for module in ("rounds", "comparing"):
            time = SimpleNamespace(monotonic=lambda: clock.now)
            monkeypatch.setattr(f"unspool.study.{module}.time", time)
        return clock

    return install


@pytest.fixture(scope="package")
def result():
    """Two arrangements, three runs, with a test part; and the data."""
    texts, worth = reviews(160)
    labels = np.where(worth > 0, "<b>up & away</b>", "down")
    estimator = unspool.SequenceClassifier(**SMALL)
    return study.compare(
        texts, labels, estimator=estimator, arrangements=TWO, repeats=3, test=0.2, jobs=1, verbose=0
    )
