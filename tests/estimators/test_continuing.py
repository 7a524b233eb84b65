"""`warm_start` and `partial_fit`: what goes on, what stays, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError, InvalidParameterError

from .conftest import SMALL, make_texts

NONE: dict[str, Any] = {"early_stopping": False, "dropout": 0.0, "input_dropout": 0.0}
ONE: dict[str, Any] = {**SMALL, **NONE, "epochs": 1}


def weights(model: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.network_.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all((a[name] == b[name]).all() for name in a)


def test_a_warm_start_goes_on_from_the_weights(texts: Any, tmp_path: Any) -> None:
    X, y = texts
    model = SequenceRegressor(**ONE, warm_start=True).fit(X, y)
    before, first = weights(model), model.history_[0]["train_loss"]
    encoder, mean = model.input_, model.target_mean_
    model.save(tmp_path / "m")
    for again in (model, unspool.load(tmp_path / "m")):
        losses = []
        again.set_params(learning_rate=1e-9).fit(X[:100], y[:100] + 7)
        np.testing.assert_allclose(again.predict(X), _with(model, before).predict(X), rtol=1e-4)
        again.set_params(learning_rate=0.02)
        for _ in range(12):
            losses.append(again.fit(X, y).history_[0]["train_loss"])
        assert losses[-1] < 0.3 * first
        assert (again.target_mean_ == mean).all()
    assert model.input_ is encoder
    assert SequenceRegressor(**ONE).fit(X, y).fit(X, y).history_[0]["train_loss"] == first


def _with(model: Any, state: dict[str, np.ndarray]) -> Any:
    import copy

    import torch

    twin = copy.deepcopy(model)
    twin.network_.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return twin


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 9}, "'warm_start'.*would be of shape"),
        ({"num_layers": 2}, "would be of shape|is absent"),
        ({"bidirectional": False}, "would be absent|would be of shape"),
        ({"ensemble": 2}, "absent"),
        ({"cell": "gru"}, "its cell is LSTM.*not GRU"),
        ({"loss": "poisson"}, "'loss'.* 'squared', as it was fitted with"),
    ],
)
def test_a_changed_shape_is_refused(texts: Any, change: dict[str, Any], message: str) -> None:
    X, y = texts
    model = SequenceRegressor(**ONE, warm_start=True).fit(X, y)
    before, answers = weights(model), model.predict(X)
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(InvalidParameterError, match=message):
            model.set_params(**change)
            go_on(X, y)
        assert same(weights(model), before)
    assert (model.predict(X) == answers).all()
    model.set_params(warm_start=False)
    model.fit(X, y)


def test_partial_fit_learns_batch_by_batch() -> None:
    X, y = make_texts(240)
    model = SequenceRegressor(**{**SMALL, **NONE, "epochs": 7})
    model.partial_fit(X[:120], y[:120])
    assert len(model.history_) == 1
    encoder, scale, first = model.input_, model.target_scale_, model.score(X, y)
    for _ in range(15):
        for rows in (slice(0, 120), slice(120, 240)):
            model.partial_fit(X[rows], y[rows])
    assert model.score(X, y) > max(0.8, first + 0.1)
    assert model.input_ is encoder and (model.target_scale_ == scale).all()


def test_partial_fit_of_classes() -> None:
    X, y = make_texts(200)
    labels = np.where(y > 50, "up", "down")
    model = SequenceClassifier(**ONE)
    with pytest.raises(DataError, match="classes, all that there will be"):
        model.partial_fit(X, labels)
    model.partial_fit(X[:20], labels[:20], classes=["up", "down", "never"])
    assert model.classes_.tolist() == ["down", "never", "up"]
    for _ in range(20):
        model.partial_fit(X, labels)
    assert model.score(X, labels) > 0.85
    assert model.predict_proba(X).shape == (200, 3)
    with pytest.raises(DataError, match="not fitted with: 'other'"):
        model.partial_fit(X[:2], ["up", "other"])
    with pytest.raises(DataError, match="classes must be those of the first fit"):
        model.partial_fit(X, labels, classes=["up", "down"])
    with pytest.raises(DataError, match="two or more"):
        SequenceClassifier(**ONE).partial_fit(X, labels, classes=["up"])


def test_a_frozen_model_thaws_and_the_columns_stay() -> None:
    X, y = make_texts(60)
    frame = {"t": X, "n": np.linspace(0, 9, 60), "c": ["a", "b"] * 30}
    model = SequenceRegressor(**ONE, text_column="t", numeric=("n",), categorical=("c",), warm_start=True)
    columns = model.fit(frame, y).columns_
    before = model.freeze().predict(frame)
    model.partial_fit(frame, y)
    assert (model.predict(frame) != before).any()
    model.fit(frame, y)
    assert model.columns_ is columns


def test_a_warm_start_of_classes_with_other_labels_is_refused(texts: Any) -> None:
    X, y = texts
    model = SequenceClassifier(**ONE, warm_start=True).fit(X, (y > 50).astype(int))
    with pytest.raises(DataError, match="not fitted with: 2"):
        model.fit(X, 1 + (y > 50).astype(int))
