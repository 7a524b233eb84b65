"""Ordered classes: learnt, given as the median, measured, saved; counts as scikit-learn counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

import unspool
from unspool import SequenceClassifier, study
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.evaluation.metrics import ordinal_metrics
from unspool.saved.fields import Fields
from unspool.tasks import Ordinal

SMALL = {
    "hidden_size": 6,
    "embedding_dim": 6,
    "epochs": 12,
    "learning_rate": 0.01,
    "random_state": 0,
    "verbose": 0,
    "dropout": 0.0,
    "input_dropout": 0.0,
}
WORDS = [a + b for a in "bcdfgh" for b in ("an", "ol", "ir", "ut")]
GRADES = ["poor", "fair", "good", "great"]


def made(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, and a grade 0 to 3 by their words and noise."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, len(WORDS), random.integers(1, 8)) for _ in range(count)]
    hidden = np.array([np.mean(row) for row in rows]) + random.normal(0, 1.5, count)
    return [" ".join(WORDS[i] for i in row) for row in rows], np.digitize(hidden, [8, 11, 14])


@pytest.fixture(scope="module")
def model() -> SequenceClassifier:
    X, y = made(500)
    return SequenceClassifier(**SMALL, order=GRADES, blend=False).fit(X, np.array(GRADES)[y])


def test_it_learns_grades_in_their_order(model):
    X, y = made(300, 1)
    found = model.predict(X)
    assert model.classes_.tolist() == GRADES and type(model.task_) is Ordinal
    ranks = np.array([GRADES.index(v) for v in found])
    assert cohen_kappa_score(y, ranks, weights="quadratic") > 0.7
    shares = model.predict_proba(X)
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_array_equal(ranks, (shares.cumsum(1) < 0.5).sum(1))
    assert list(model.columns(X[:1])) == ["prediction", *(f"probability_{g}" for g in GRADES)]


def test_the_thresholds_alone_are_the_shares():
    y = np.repeat([0, 1, 2], [10, 60, 30])
    task = Ordinal()
    task.fit(task.read(y, 100, learn=True))
    below = expit(task.thresholds_start.numpy())
    np.testing.assert_allclose(below, [10.5 / 101.5, 71 / 101.5], rtol=1e-5)


def test_one_feature_has_the_coefficient_of_a_proportional_odds_model():
    """The head on one number a row, fitted long, against the same likelihood maximised by SciPy."""
    import torch
    from torch import nn

    from unspool.heads import Ordered

    random = np.random.default_rng(0)
    x = random.normal(size=800)
    y = np.digitize(1.5 * x + random.logistic(size=800), [-1, 0.5])

    def loss(p: np.ndarray) -> float:
        cuts = np.array([p[1], p[1] + np.exp(p[2])])
        below = expit(cuts - p[0] * x[:, None])
        edges = np.concatenate([np.zeros((800, 1)), below, np.ones((800, 1))], 1)
        return -np.log(np.diff(edges, axis=1)[np.arange(800), y]).mean()

    theirs = minimize(loss, np.zeros(3)).x
    head = Ordered(nn.Linear(1, 1, bias=False), torch.tensor([-1.0, 1.0])).double()
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=300, tolerance_grad=1e-9)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.nll_loss(head(torch.tensor(x)[:, None]), torch.tensor(y))
        value.backward()
        return value

    optimizer.step(step)
    assert head.module.weight.item() == pytest.approx(theirs[0], abs=1e-3)
    np.testing.assert_allclose(
        head.thresholds.detach(), [theirs[1], theirs[1] + np.exp(theirs[2])], atol=2e-3
    )


def test_metrics_are_scikit_learns():
    random = np.random.default_rng(0)
    y, found = random.integers(0, 4, 50), random.integers(0, 4, 50)
    shares = random.dirichlet(np.ones(4), 50)
    metrics = ordinal_metrics(y, shares, found)
    assert metrics["rank_mae"] == pytest.approx(mean_absolute_error(y, found))
    assert metrics["kappa"] == pytest.approx(cohen_kappa_score(y, found, weights="quadratic"))
    same = np.zeros(3, int)
    assert ordinal_metrics(same, shares[:3], same)["kappa"] is None


@pytest.mark.parametrize("blend", [True, False])
def test_it_is_saved(blend, tmp_path):
    X, y = made(240)
    settings = {**SMALL, "epochs": 2, "validation_fraction": 0.2, "blend": blend}
    model = SequenceClassifier(**settings, order="auto", class_weight="balanced").fit(X, y)
    assert (model.linear_ is not None) == blend
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.order == "auto" and type(again.task_) is Ordinal
    np.testing.assert_array_equal(again.predict(X, level=80), model.predict(X, level=80))
    assert "thresholds" in again.summary()


@pytest.mark.parametrize(
    "change", [{"classes": ["poor", "fair", "poor"]}, {"classes": ["poor"]}, {"temperature": 0.0}]
)
def test_damaged_fields_are_refused(change):
    saved = {"dtype": "str", "classes": ["poor", "fair", "good"]}
    assert Ordinal.from_fields(Fields(saved, "the target")).classes.tolist() == saved["classes"]
    with pytest.raises(ModelFileError):
        Ordinal.from_fields(Fields({**saved, **change}, "the target"))


def test_sets_are_runs_that_hold_so_many_new_rows(model):
    X, y = made(800, 2)
    sets = model.predict(X, level=90)
    assert 0.8 < sets[np.arange(800), y].mean() < 1
    for row in sets:
        assert row.any() and (np.diff(np.flatnonzero(row)) == 1).all()


def test_the_order_is_that_of_the_column():
    X, y = made(60)
    labels = np.array(GRADES)[y]
    one = {**SMALL, "epochs": 1}
    by_pandas = pd.Series(pd.Categorical(labels, GRADES, ordered=True))
    by_polars = pl.Series(labels).cast(pl.Enum(GRADES))
    for column in (by_pandas, by_polars):
        assert SequenceClassifier(**one, order="auto").fit(X, column).classes_.tolist() == GRADES
    assert SequenceClassifier(**one, order="auto").fit(X, y * 10).classes_.tolist() == [0, 10, 20, 30]
    with pytest.raises(DataError, match="no order of their own"):
        SequenceClassifier(**one, order="auto").fit(X, labels)


def test_rare_grades_weigh_more():
    X, y = made(400)
    plain, weighted = (
        SequenceClassifier(**{**SMALL, "epochs": 4}, order="auto", blend=False, class_weight=w).fit(X, y)
        for w in (None, {0: 20.0, 1: 1.0, 2: 1.0, 3: 1.0})
    )
    assert weighted.predict_proba(X)[:, 0].mean() > 1.3 * plain.predict_proba(X)[:, 0].mean()


@pytest.mark.parametrize(
    ("settings", "labels", "error", "message"),
    [
        ({"order": ["a", "b"]}, ["a", "b", "c"], DataError, r"has not: 'c' in row 2 \(20 rows"),
        ({"order": ["a"]}, ["a", "a", "a"], InvalidParameterError, "two classes or more"),
        ({"order": "rising"}, [1, 2, 3], InvalidParameterError, "'order'"),
        ({"order": "auto", "label_smoothing": 0.1}, [1, 2, 3], InvalidParameterError, "with an order"),
        ({"order": "auto", "multilabel": True}, [1, 2, 3], InvalidParameterError, "with an order"),
        ({"order": "auto"}, [1, 1, 1], DataError, "two classes or more"),
    ],
)
def test_what_cannot_be_learnt_says_so(settings, labels, error, message):
    with pytest.raises(error, match=message):
        SequenceClassifier(**SMALL, **settings).fit(["a b", "b", "c a"] * 20, labels * 20)


def test_it_learns_on():
    X, y = made(120)
    model = SequenceClassifier(**{**SMALL, "epochs": 1}, order=[0, 1, 2, 3]).partial_fit(X, y)
    before = model.predict_proba(X)
    assert not np.array_equal(model.partial_fit(X[:9], y[:9]).predict_proba(X), before)
    with pytest.raises(DataError, match="needs order"):
        SequenceClassifier(**SMALL, order="auto").partial_fit(X, y)


def test_a_study_ranks_by_kappa():
    X, y = made(150)
    estimator = SequenceClassifier(**{**SMALL, "epochs": 1}, order="auto", blend=False)
    result = study.compare(X, y, estimator=estimator, cells=["gru"], repeats=1, jobs=1, verbose=0)
    assert "kappa" in result.summary().lower()
