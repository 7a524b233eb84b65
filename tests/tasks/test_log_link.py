"""Counts and positive numbers: means, intervals, what is refused, saved, measured beside baselines."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import GammaRegressor, PoissonRegressor
from sklearn.metrics import mean_gamma_deviance, mean_poisson_deviance

import unspool
from unspool import SequenceRegressor
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.evaluation.baselines import log_link_baselines
from unspool.evaluation.linear import fit_linear
from unspool.evaluation.metrics import deviance_metrics
from unspool.saved.fields import Fields
from unspool.tasks import Count, Positive, Regression
from unspool.text import TextEncoder

SMALL = {
    "hidden_size": 6,
    "embedding_dim": 6,
    "epochs": 20,
    "learning_rate": 0.01,
    "random_state": 0,
    "verbose": 0,
    "dropout": 0.0,
    "input_dropout": 0.0,
}
WORDS = [a + b for a in "bcdfgh" for b in ("an", "ol", "ir", "ut")]
LOSSES = {"poisson": Count, "negative_binomial": Count, "gamma": Positive, "lognormal": Positive}


def made(loss: str, count: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, targets and their true means."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, len(WORDS), random.integers(1, 8)) for _ in range(count)]
    mean = np.exp(np.array([np.mean(row) for row in rows]) / 8 - 0.5)
    y = {
        "poisson": lambda: random.poisson(mean),
        "negative_binomial": lambda: random.negative_binomial(2, 2 / (2 + mean)),
        "gamma": lambda: random.gamma(4, mean / 4),
        "lognormal": lambda: mean * random.lognormal(-0.125, 0.5, count),
    }[loss]()
    return [" ".join(WORDS[i] for i in row) for row in rows], y, mean


@pytest.mark.parametrize("loss", LOSSES)
def test_it_predicts_means_with_intervals(loss, tmp_path):
    X, y, _ = made(loss, 700)
    model = SequenceRegressor(**SMALL, loss=loss, validation_fraction=0.3).fit(X, y)
    assert type(model.task_) is LOSSES[loss] and model.linear_ is None
    new, truth, mean = made(loss, 1000, 1)
    found = model.predict(new)
    assert found.min() > 0 and np.corrcoef(found, mean)[0, 1] > 0.8
    assert found.mean() == pytest.approx(mean.mean(), rel=0.1)
    ends = model.predict(new, level=90)
    np.testing.assert_allclose(ends[:, 0], found, rtol=1e-6)
    inside = ((ends[:, 1] <= truth) & (truth <= ends[:, 2])).mean()
    assert 0.84 < inside < 0.96 and ends[:, 1].min() >= 0
    wide = ends[:, 2] - ends[:, 1]
    assert wide[found > np.median(found)].mean() > wide[found < np.median(found)].mean()
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    assert type(again.task_) is LOSSES[loss]
    np.testing.assert_allclose(again.predict(new, level=90), ends, rtol=1e-6)


def test_several_targets_each_have_their_scale():
    X, y, _ = made("negative_binomial", 300)
    both = np.stack([y, 100 * y + 3], 1)
    model = SequenceRegressor(**SMALL, loss="negative_binomial").fit(X, both)
    found = model.predict(X)
    assert found.shape == (300, 2) and model.predict(X, level=50).shape == (300, 2, 3)
    np.testing.assert_allclose(found.mean(0), both.mean(0), rtol=0.15)
    assert list(model.columns(X[:2], level=50)) == [
        *("prediction_1", "prediction_2", "prediction_1_low", "prediction_1_high"),
        *("prediction_2_low", "prediction_2_high"),
    ]


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        ("poisson", -1, r"targets of 0 or more\. Got -1.0 in row 4 \(1 rows"),
        ("negative_binomial", 0.5, r"whole numbers of 0 or more\. Got 0.5 in row 4"),
        ("gamma", 0, r"targets above 0\. Got 0.0 in row 4.*use 'poisson'"),
        ("lognormal", -2, r"targets above 0\. Got -2.0 in row 4"),
    ],
)
def test_a_target_outside_the_range_is_named(loss, bad, message):
    y = np.arange(1.0, 31.0)
    y[4] = bad
    with pytest.raises(DataError, match=message):
        SequenceRegressor(**SMALL, loss=loss).fit(["a b"] * 30, y)


def test_nothing_but_zeros_is_nothing_to_learn():
    with pytest.raises(DataError, match="not all 0"):
        SequenceRegressor(**SMALL, loss="poisson").fit(["a b"] * 30, np.zeros(30))


@pytest.mark.parametrize(("first", "then"), [("squared", "gamma"), ("poisson", "negative_binomial")])
def test_a_fitted_model_keeps_its_likelihood(first, then):
    X, y = ["a b", "b c"] * 20, np.arange(40.0) + 1
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, loss=first, warm_start=True).fit(X, y)
    with pytest.raises(InvalidParameterError, match="as it was fitted with"):
        model.set_params(loss=then).fit(X, y)


def test_parameters_of_classes_are_refused():
    for name, value in (("order", ["a", "b"]), ("calibrate", True), ("class_weight", "balanced")):
        with pytest.raises(InvalidParameterError, match="numbers have no classes"):
            SequenceRegressor(**SMALL, loss="gamma", **{name: value}).fit(["a"] * 9, np.arange(9.0) + 1)


def test_files_from_before_counts_were_a_task_are_read():
    saved = {"ndim": 1, "mean": [0.0], "scale": [2.5], "loss": "poisson", "limits": [[1.0]] * 99}
    task = Regression.from_fields(Fields(saved, "the target"))
    assert type(task) is Count and task.scores is None  # their limits were of errors that nothing divided
    np.testing.assert_allclose(task.decode(np.array([[0.2], [1.0]])), 2.5 * np.exp([0.2, 1.0]))


@pytest.mark.parametrize(
    "change", [{"scale": [0.0]}, {"loss": "gamma"}, {"scale": [1.0, 2.0]}, {"limits": [[1.0]]}]
)
def test_damaged_fields_are_refused(change):
    saved = {"ndim": 1, "mean": [0.0], "scale": [2.5], "loss": "poisson"}
    Count.from_fields(Fields(saved, "the target"))
    with pytest.raises(ModelFileError):
        Count.from_fields(Fields({**saved, **change}, "the target"))


def test_metrics_are_scikit_learns():
    random = np.random.default_rng(0)
    y, found = random.poisson(3, 50) + 1.0, random.gamma(3, 1, 50)
    assert deviance_metrics(y, found, 1)["deviance"] == pytest.approx(mean_poisson_deviance(y, found))
    assert deviance_metrics(y, found, 2)["deviance"] == pytest.approx(mean_gamma_deviance(y, found))
    assert deviance_metrics(y - 1, found, 2)["deviance"] is None


@pytest.mark.parametrize(
    ("loss", "power", "theirs"), [("poisson", 1, PoissonRegressor), ("gamma", 2, GammaRegressor)]
)
def test_the_linear_model_is_scikit_learns(loss, power, theirs):
    X, y, _ = made(loss, 200)
    model = fit_linear(TextEncoder(), X, y, power=power, penalty=np.array([0.5]))
    # Ours is of y / mean, whose Poisson deviance is 1 / mean of that of y, and whose gamma deviance is the same.
    twin = theirs(alpha=0.5 / 200 * (y.mean() if power == 1 else 1), tol=1e-8, max_iter=1000)
    terms = model.terms.transform(X)
    np.testing.assert_allclose(np.exp(model.outputs(X)[:, 0]), twin.fit(terms, y).predict(terms), rtol=5e-3)


@pytest.mark.parametrize(("loss", "power"), [("poisson", 1), ("gamma", 2)])
def test_baselines_predict_means(loss, power):
    X, y, _ = made(loss, 300)
    new, truth, _ = made(loss, 200, 1)
    mean, linear = log_link_baselines(X, y, power, validation=(new[:50], truth[:50]))
    np.testing.assert_allclose(mean.predict(new), y.mean())
    found = [deviance_metrics(truth, b.predict(new), power)["deviance"] for b in (mean, linear)]
    assert found[1] < 0.9 * found[0]
