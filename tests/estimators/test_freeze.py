"""Estimators that predict with frozen weights: the same numbers in float32, near ones in the narrow forms."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import EngineError, InvalidParameterError
from unspool.estimators import DivergenceError
from unspool.nn import stack as stacks

from .conftest import SMALL, make_texts

QUICK = {**SMALL, "epochs": 2}
KINDS: dict[str, dict[str, Any]] = {
    "last, both directions": {"pooling": "last", "bidirectional": True},
    "gru, two layers": {"cell": "gru", "num_layers": 2, "connection": "residual", "pooling": "mean+max"},
    "noise": {"zoneout": 0.1, "recurrent_dropout": 0.2, "dense": (8,), "dropout": 0.3},
    "characters": {"level": "char", "cell": "min_gru", "pooling": "attention"},
}


def series(count: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences of 1 to 11 steps of 3 features; y is the mean of the first less that of the second."""
    random = np.random.RandomState(seed)
    X = [random.randn(random.randint(1, 12), 3) for _ in range(count)]
    return X, np.array([x[:, 0].mean() - x[:, 1].mean() for x in X])


def words(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, one of them empty and one of unknown words alone."""
    X, y = make_texts(count, seed)
    return ["", "unheard of", *X[2:]], y


def outputs(model: Any, X: Any) -> np.ndarray:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@pytest.mark.filterwarnings("ignore:.*hold no")
@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [SequenceRegressor, SequenceClassifier])
def test_float32_predicts_to_the_bit(
    make: Any, kind: str, projected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not projected:
        monkeypatch.setattr(stacks, "PROJECTED", 0)
    for data in (make_texts, series):
        (X, y), (fresh, _) = data(60), (words if data is make_texts else series)(50, seed=1)
        model = make(**{**QUICK, **KINDS[kind]}).fit(X, y if make is SequenceRegressor else y > np.median(y))
        expected = outputs(model, fresh)
        assert model.freeze() is model
        table = model.frozen_.stack.layers[0].frozen.table
        assert (table is not None) == (projected and data is make_texts)
        assert np.array_equal(outputs(model, fresh), expected)
        assert not any(weight.requires_grad for weight in model.frozen_.parameters())
        assert all(weight.requires_grad for weight in model.network_.parameters())


@pytest.fixture(scope="module")
def trained() -> SequenceRegressor:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = SequenceRegressor(**SMALL, bidirectional=True).fit(*make_texts(240))
    torch.set_num_threads(threads)
    return made


@pytest.fixture
def model(trained: SequenceRegressor) -> SequenceRegressor:
    """Trained on 240 texts to a score above .9."""
    return copy.deepcopy(trained)


def test_scores_of_the_narrow_forms(model: SequenceRegressor) -> None:
    fresh, truth = make_texts(300, seed=5)
    exact, score = model.predict(fresh), model.score(fresh, truth)
    assert score > 0.9
    errors = {}
    for form in ("bfloat16", "int8"):
        model.freeze(form)
        errors[form] = np.abs(model.predict(fresh) - exact).mean() / exact.std()
        assert model.score(fresh, truth) == pytest.approx(score, abs=0.003)
    assert 0 < errors["bfloat16"] < errors["int8"] < 0.02


def test_scores_of_a_classifier() -> None:
    X, y = series(240)
    model = SequenceClassifier(**SMALL, cell="gru").fit(X, y > 0)
    fresh, truth = series(300, seed=5)
    score, shares = model.score(fresh, truth > 0), model.predict_proba(fresh)
    assert score > 0.85
    for form in ("bfloat16", "int8"):
        model.freeze(form)
        assert model.score(fresh, truth > 0) == pytest.approx(score, abs=0.02)
        assert 0 < np.abs(model.predict_proba(fresh) - shares).max() < 0.05


def test_the_weights_are_those_at_the_time_of_freezing(model: SequenceRegressor) -> None:
    fresh = make_texts(50, seed=5)[0]
    expected = model.freeze("bfloat16").predict(fresh)
    with torch.no_grad():
        model.network_.embedding.weight.add_(1.0)
        model.network_.stack.layers[0].cell.weight_hh.add_(1.0)
    assert np.array_equal(model.predict(fresh), expected)
    assert not np.allclose(model.freeze("bfloat16").predict(fresh), expected)


def test_a_new_fit_forgets(model: SequenceRegressor) -> None:
    model.freeze("int8")
    X, y = make_texts(60)
    model.set_params(epochs=1).fit(X, y)
    assert not hasattr(model, "frozen_")
    fresh = SequenceRegressor(**model.get_params()).fit(X, y)
    assert np.array_equal(model.predict(X), fresh.predict(X))


def test_a_fit_that_fails_keeps_it(model: SequenceRegressor) -> None:
    """With the network and the vocabulary that it was frozen of."""
    model.freeze("int8")
    expected = model.predict(["ba be"])
    X = [f"{a}x {b}y" for a in "abcdefghijklmn" for b in "abcdefghijklmn"]
    with pytest.raises(DivergenceError):
        model.set_params(learning_rate=1e38, gradient_clip=None).fit(X, np.arange(len(X)))
    assert np.array_equal(model.predict(["ba be"]), expected)


def test_a_refused_fit_keeps_it(model: SequenceRegressor) -> None:
    model.freeze("int8")
    expected = model.predict(["ba be"])
    with pytest.raises(InvalidParameterError):
        model.set_params(batch_size=0).fit(*make_texts(60))
    assert np.array_equal(model.predict(["ba be"]), expected)


def test_copies_keep_it_and_files_do_not(model: SequenceRegressor, tmp_path: Path) -> None:
    fresh = make_texts(50, seed=5)[0]
    exact = model.predict(fresh)
    narrow = model.freeze("int8").predict(fresh)
    assert not np.array_equal(exact, narrow)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_allclose(twin.predict(fresh), narrow, rtol=1e-5)
    assert not hasattr(clone(model), "frozen_")
    model.save(tmp_path / "model.zip")
    loaded = unspool.load(tmp_path / "model.zip")
    assert not hasattr(loaded, "frozen_") and np.array_equal(loaded.predict(fresh), exact)


class Sorted(nn.Module):
    """A cell that the native engine cannot run."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.linear = input_size, nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.linear.out_features)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.linear(torch.cat([x, h], 1))).cummax(dim=1).values


def test_what_cannot_be_frozen(model: SequenceRegressor) -> None:
    with pytest.raises(NotFittedError):
        SequenceRegressor().freeze()
    model.freeze("int8")
    before = model.predict(["ba be"])
    with pytest.raises(InvalidParameterError, match=r"'weights' parameter.*Got 'int9'"):
        model.freeze("int9")
    assert np.array_equal(model.predict(["ba be"]), before)
    plain = SequenceRegressor(**{**QUICK, "epochs": 1, "cell": Sorted}).fit(*make_texts(30))
    expected = plain.predict(["ba be"])
    with pytest.raises(EngineError, match=r"Sorted uses.*aten\.cummax"):
        plain.freeze()
    assert np.array_equal(plain.predict(["ba be"]), expected)
