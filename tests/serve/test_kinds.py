"""Each kind of model behind the server: its own example is answered as `predict` does, to the bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.serve.conftest import SMALL, series, texts

import unspool
from unspool.errors import DataError
from unspool.serve import Limits, examples
from unspool.serve.protocol import InferRequest, response_body
from unspool.serve.served import Served
from unspool.streaming import stream_model

TEXTS = texts(60)
COUNTS = [text.count("good") for text in TEXTS]
LEVELS = ("none", "one", "more")


def regressor(X: Any, y: Any, **options: Any) -> Any:
    return unspool.SequenceRegressor(**{**SMALL, "epochs": 1, **options}).fit(X, y)


def classifier(y: Any, **options: Any) -> Any:
    return unspool.SequenceClassifier(**{**SMALL, "epochs": 1, **options}).fit(TEXTS, y)


MADE = {
    "ordered classes": lambda: classifier([LEVELS[min(c, 2)] for c in COUNTS], order=LEVELS),
    "several labels": lambda: classifier(
        np.array([[c > 0, "day" in t] for c, t in zip(COUNTS, TEXTS)], dtype=int)
    ),
    "numbers as classes": lambda: classifier([min(c, 2) for c in COUNTS]),
    "counts": lambda: regressor(TEXTS, COUNTS, loss="poisson"),
    "several numbers": lambda: regressor(TEXTS, np.array([COUNTS, COUNTS]).T),
    "an ensemble": lambda: regressor(TEXTS, COUNTS, ensemble=2),
    "characters": lambda: regressor(TEXTS, COUNTS, level="char"),
    "words with characters": lambda: regressor(TEXTS, COUNTS, characters="cnn"),
    "one feature": lambda: regressor([s[:, 0] for s in series(40)], np.arange(40.0)),
    "missing numbers": lambda: regressor(
        [np.where(abs(s) > 1.5, np.nan, s) for s in series(40)], np.arange(40.0)
    ),
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_its_example(kind) -> None:
    model = MADE[kind]()
    served = Served("model", model, Limits())
    tensors = examples.tensors_of(served)
    rows = served.rows(tensors)
    (found,) = served.answer([rows])
    np.testing.assert_array_equal(next(iter(found.values())), model.predict(rows.given(None)))
    if served.classes is not None:
        np.testing.assert_array_equal(found["probabilities"], model.predict_proba(rows.given(None)))
        assert found["probabilities"].shape[1] == len(served.classes)
    content, _ = response_body("model", "1", InferRequest(tensors), found)
    for spec, told in zip(served.outputs, json.loads(content)["outputs"], strict=True):
        assert (spec.name, spec.datatype, len(spec.shape)) == (
            told["name"],
            told["datatype"],
            len(told["shape"]),
        )
        assert all(n in (-1, size) for n, size in zip(spec.shape, told["shape"]))


def test_ordered_classes_are_no_stream_and_say_so() -> None:
    with pytest.raises(DataError, match="order"):
        stream_model(MADE["ordered classes"]())
