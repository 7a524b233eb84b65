"""No run is timed with what only the first one in a process has to do."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from unspool import SequenceClassifier, study
from unspool.errors import DataError
from unspool.study import jobs


@pytest.mark.parametrize("labels", [["yes", "no"], ["Yes", "yes"]])
def test_the_first_run_is_not_timed_with_its_warm_up(monkeypatch, labels):
    """The first fit of a process takes a thousand seconds more here; no run may have them in its time."""
    fit, first, more = SequenceClassifier.fit, [True], [0]
    monkeypatch.setattr(jobs, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + sum(more)))

    def slow(self, *given, **named):
        if first:
            first.clear()
            more.append(1000)
        return fit(self, *given, **named)

    monkeypatch.setattr(SequenceClassifier, "fit", slow)
    monkeypatch.setattr(jobs, "_warm", set())
    texts = [f"a{i % 7} b{i % 3}" for i in range(60)]
    y = np.array(labels)[np.arange(60) % 2]
    model = SequenceClassifier(hidden_size=4, embedding_dim=4, epochs=1, batch_size=16, verbose=0)
    options = {
        "cells": ["rnn"],
        "poolings": ["last"],
        "layouts": ["one"],
        "repeats": 2,
        "jobs": 1,
        "verbose": 0,
    }
    result = study.compare(texts, y, estimator=model, **options)
    (entry,) = result.entries
    seconds = [run.train_seconds for run in entry.runs.values()]
    assert not first and len(seconds) == 2 and max(seconds) < 500


@pytest.mark.parametrize("cell", ["{}.5", "{},5", "{}%", "{} kg", "2024-01-{:02d}"])
def test_texts_that_look_like_numbers_are_no_labels_in_silence(cell):
    y = [cell.format(i) for i in range(1, 29)]
    with pytest.raises(DataError, match=r"texts that seem to be .*estimator=SequenceClassifier"):
        study.compare([f"a{i}" for i in range(28)], y, verbose=0)
