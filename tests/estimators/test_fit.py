"""Fitting and predicting: what is learnt, from which rows, and how reproducibly."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score

from unspool import Ragged, SequenceClassifier, SequenceRegressor
from unspool.cells import GRUCell
from unspool.text import pad_sequences

from .conftest import SMALL, make_texts

Texts = tuple[list[str], np.ndarray]


def test_regression_on_texts(texts: Texts) -> None:
    X, y = texts
    model = SequenceRegressor(**SMALL, bidirectional=True, dense=(8,), dropout=0.0, input_dropout=0.0).fit(
        X, y
    )
    fresh, truth = make_texts(100, seed=5)
    prediction = model.predict(fresh)
    assert prediction.shape == (100,) and prediction.dtype == np.float64
    assert model.score(fresh, truth) == pytest.approx(
        1 - ((truth - prediction) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    )
    assert model.score(fresh, truth) > 0.9


def test_several_targets_come_back_in_their_own_units(texts: Texts) -> None:
    X, y = texts
    both = np.stack([y, -1000 * y + 7], axis=1)
    model = SequenceRegressor(**SMALL).fit(X, both)
    prediction = model.predict(X)
    assert prediction.shape == (240, 2)
    assert np.corrcoef(prediction[:, 0], y)[0, 1] > 0.95
    assert np.abs(prediction[:, 1] + 1000 * y - 7).mean() < 0.3 * 1000 * y.std()


@pytest.mark.parametrize(
    "labels", [["low", "mid", "high"], [3, 1, 2], [0.0, 1.0, 7.0], np.array(["a", "b", "c"], dtype=object)]
)
def test_classes_of_any_type(texts: Texts, labels: object) -> None:
    X, y = texts
    labels = np.asarray(labels)
    classes = labels[np.digitize(y, [43, 57])]
    model = SequenceClassifier(**SMALL, cell="gru").fit(X, classes.tolist())
    assert model.classes_.tolist() == sorted(set(classes.tolist()))
    proba = model.predict_proba(X)
    assert proba.shape == (240, 3)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-12)
    assert (model.predict(X) == model.classes_[proba.argmax(1)]).all()
    assert model.score(X, classes) > 0.8


def test_pads_on_either_side_cost_nothing_and_change_nothing() -> None:
    random = np.random.RandomState(0)
    rows = [random.randint(1, 20, random.randint(1, 9)).tolist() for _ in range(120)]
    y = np.array([np.mean(row) for row in rows])
    predictions = []
    for X in (
        rows,
        Ragged.from_list(rows),
        pad_sequences(rows),
        pad_sequences(rows, padding="post", maxlen=30),
        torch.from_numpy(pad_sequences(rows)),
        [np.array(row) for row in rows],
    ):
        model = SequenceRegressor(**{**SMALL, "epochs": 2}).fit(X, y)
        assert model.input_.vocabulary_size == 20
        predictions.append(model.predict(X))
    for other in predictions[1:]:
        assert np.array_equal(predictions[0], other)


def test_series_of_any_scale() -> None:
    """y is the mean of feature 0, which is 1e6 off zero; feature 1 is constant."""
    random = np.random.RandomState(0)
    rows = [random.randn(random.randint(2, 12), 2) + random.randn() for _ in range(200)]
    y = np.array([row[:, 0].mean() for row in rows])
    scaled = [row * [1e3, 0] + [1e6, 5] for row in rows]
    model = SequenceRegressor(**{**SMALL, "epochs": 25}).fit(scaled, y)
    assert model.n_features_in_ == 2
    assert model.score(scaled, y) > 0.9
    assert np.array_equal(model.predict(scaled), model.predict(Ragged.from_list(scaled)))
    one = SequenceRegressor(**{**SMALL, "epochs": 1}).fit(np.stack([row[:2] for row in rows]), y)
    assert one.predict(np.stack([row[:2] for row in rows])).shape == (200,)
    flat = np.stack([row[:2, 0] for row in rows])
    assert SequenceRegressor(**{**SMALL, "epochs": 1}).fit(flat, y).n_features_in_ == 1


def test_vocabulary_and_scaling_see_the_training_part_only() -> None:
    """Each text has one word of its own, and y is 1 for one text and 0 for all others."""
    X = [f"common own{i}" for i in range(40)]
    y = np.arange(40.0)
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, validation_fraction=0.25).fit(X, y)
    known = set(model.input_.encoder.words_)
    assert len(known) == 1 + 30
    rows = [i for i in range(40) if f"own{i}" in known]
    assert model.target_mean_[0] == pytest.approx(y[rows].mean())
    assert model.target_scale_[0] == pytest.approx(y[rows].std())

    series = [np.full((2, 1), float(i)) for i in range(40)]
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, validation_fraction=0.25).fit(series, y)
    assert model.input_.mean[0] == pytest.approx(y[rows].mean())
    assert model.input_.scale[0] == pytest.approx(y[rows].std())


def test_validation_data_is_validated_on_and_not_learnt_from(texts: Texts) -> None:
    X, y = texts
    fresh = make_texts(50, seed=3)
    model = SequenceRegressor(**SMALL).fit(X, y, validation_data=(["zebra " + x for x in fresh[0]], fresh[1]))
    assert "zebra" not in model.input_.encoder.words_
    assert model.target_mean_[0] == pytest.approx(y.mean())


def test_the_weights_of_the_best_epoch_are_kept(texts: Texts) -> None:
    X, y = texts
    fresh = make_texts(60, seed=3)
    model = SequenceRegressor(**{**SMALL, "epochs": 40, "learning_rate": 0.1}, patience=2)
    model.fit(X, y, validation_data=fresh)
    losses = [epoch["validation_loss"] for epoch in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1
    assert len(losses) == model.best_epoch_ + 2 < 40
    loss = ((model.predict(fresh[0]) - fresh[1]) ** 2).mean() / y.std() ** 2
    assert loss == pytest.approx(min(losses), rel=1e-4)
    assert [epoch["epoch"] for epoch in model.history_] == list(range(1, len(losses) + 1))


def test_without_early_stopping_all_rows_train_for_all_epochs(texts: Texts) -> None:
    X, y = texts
    model = SequenceRegressor(**{**SMALL, "epochs": 3}, early_stopping=False).fit(X, y)
    assert len(model.history_) == model.best_epoch_ == 3
    assert "validation_loss" not in model.history_[0]
    assert model.target_mean_[0] == pytest.approx(y.mean())


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_one(texts: Texts) -> None:
    X, y = texts
    settings = {**SMALL, "epochs": 2, "dropout": 0.2, "num_layers": 2}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = SequenceRegressor(**settings).fit(X, y)
    assert torch.equal(torch.rand(3), expected)
    second = SequenceRegressor(**settings).fit(X, y)
    other = SequenceRegressor(**{**settings, "random_state": 1}).fit(X, y)
    assert np.array_equal(first.predict(X), second.predict(X))
    assert not np.array_equal(first.predict(X), other.predict(X))
    assert [e["train_loss"] for e in first.history_] == [e["train_loss"] for e in second.history_]


def test_predictions_keep_the_order_and_do_not_depend_on_the_batch(texts: Texts) -> None:
    X, y = texts
    model = SequenceRegressor(**{**SMALL, "epochs": 2}).fit(X, y)
    together = model.predict(X)
    alone = np.concatenate([model.predict([x]) for x in X[:40]])
    np.testing.assert_allclose(together[:40], alone, rtol=1e-5)
    np.testing.assert_allclose(model.predict(X[::-1]), together[::-1], rtol=1e-5)


def test_rows_of_weight_zero_teach_nothing(texts: Texts) -> None:
    """Half of the rows have a wrong target; with weight 0 the model learns the right ones all the same."""
    X, y = texts
    wrong = np.arange(240) % 2 == 0
    spoilt = np.where(wrong, 200 - 3 * y, y)
    settings = {**SMALL, "early_stopping": False, "epochs": 20}
    fresh, truth = make_texts(100, seed=5)
    weighted = SequenceRegressor(**settings).fit(X, spoilt, sample_weight=np.where(wrong, 0.0, 3.0))
    assert np.corrcoef(weighted.predict(fresh), truth)[0, 1] > 0.9
    plain = SequenceRegressor(**settings).fit(X, spoilt)
    assert np.corrcoef(plain.predict(fresh), truth)[0, 1] < 0.5
    equal = SequenceRegressor(**SMALL).fit(X, y, sample_weight=np.full(240, 2.0))
    none = SequenceRegressor(**SMALL).fit(X, y)
    np.testing.assert_allclose(equal.predict(X), none.predict(X), rtol=1e-3)


@pytest.mark.parametrize("update", ["sparse", "dense"])
def test_only_a_dense_update_moves_tokens_that_the_batch_has_not(update: str) -> None:
    X = [[1, 2], [2, 1]] * 8 + [[0, 3], [3, 0]]
    settings = {**SMALL, "epochs": 1, "early_stopping": False, "weight_decay": 0.5, "learning_rate": 0.1}
    random = np.random.RandomState(1)
    start = SequenceRegressor(**{**settings, "learning_rate": 1e-12}, embedding_update=update)
    start.fit([*X, [9]], random.randn(19))
    model = SequenceRegressor(**settings, embedding_update=update).fit([*X, [9]], random.randn(19))
    moved = (model.network_.embedding.weight - start.network_.embedding.weight).abs().amax(1) > 1e-6
    assert moved[[0, 1, 2, 3, 9]].all()
    assert moved[4:9].all() == moved[4:9].any() == (update == "dense")


def test_a_factory_as_cell(texts: Texts) -> None:
    X, y = texts
    settings = {**SMALL, "epochs": 2}
    named = SequenceRegressor(**settings, cell="gru").fit(X, y)
    made = SequenceRegressor(**settings, cell=lambda inputs, units: GRUCell(inputs, units)).fit(X, y)
    assert np.array_equal(named.predict(X), made.predict(X))


def test_columns_and_arrays_of_texts(texts: Texts) -> None:
    X, y = texts
    model = SequenceRegressor(**{**SMALL, "epochs": 2}).fit(pl.Series(X), pl.Series(y))
    expected = SequenceRegressor(**{**SMALL, "epochs": 2}).fit(X, y).predict(X)
    for same in (np.array(X), np.array(X, dtype=object), pl.Series(X), tuple(X)):
        assert np.array_equal(model.predict(same), expected)


def test_summary_counts_by_hand(texts: Texts) -> None:
    X, y = texts
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, bidirectional=True, dense=(6,)).fit(X, y)
    # embedding: (30 words + pad + unknown) * 8; LSTM: 2 directions * 4 gates * (8 + 12 + 2 biases) * 12
    parts = [32 * 8, 2 * 4 * 12 * (8 + 12 + 2), 24 * 6 + 6, 6 + 1]
    assert model.n_parameters_ == sum(parts)
    table = model.summary()
    for number in (*parts, sum(parts)):
        assert f" {number:,}" in table


def test_cross_validation_and_grid_search(texts: Texts) -> None:
    X, y = texts
    model = SequenceRegressor(**SMALL)
    assert cross_val_score(model, X, y, cv=2).min() > 0.5
    ids = Ragged.from_list([[len(word) for word in x.split()] for x in X])
    search = GridSearchCV(SequenceRegressor(**{**SMALL, "epochs": 1}), {"hidden_size": [2, 3]}, cv=2)
    search.fit(ids, y)
    assert search.best_estimator_.network_.stack.output_size == 2 * search.best_params_["hidden_size"]
