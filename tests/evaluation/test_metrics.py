"""Metrics against scikit-learn and scipy, and the verdict on worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as oracle

from unspool.evaluation.metrics import beside_baselines, classification_metrics, regression_metrics


def test_regression_metrics_equal_scikit_learn():
    rng = np.random.default_rng(0)
    true = rng.normal(3, 0.4, 200)
    predicted = true * 0.5 + rng.normal(size=200)
    got = regression_metrics(true, predicted)
    assert got["rmse"] == pytest.approx(oracle.root_mean_squared_error(true, predicted), rel=1e-12)
    assert got["mae"] == pytest.approx(oracle.mean_absolute_error(true, predicted), rel=1e-12)
    assert got["pearson_r"] == pytest.approx(pearsonr(true, predicted).statistic, rel=1e-12)
    assert got["r2"] == pytest.approx(oracle.r2_score(true, predicted), rel=1e-12)


def test_r_of_a_constant_prediction_is_undefined():
    true = np.array([1.0, 2.0, 4.0])
    got = regression_metrics(true, np.full(3, 0.1 + 0.2))
    assert got["pearson_r"] is None and got["r2"] < 0
    assert regression_metrics(np.ones(3), true) == {
        "rmse": pytest.approx(np.sqrt(10 / 3)),  # errors 0, 1, 3
        "mae": pytest.approx(4 / 3),
        "pearson_r": None,
        "r2": None,
    }


@pytest.mark.parametrize("labels", [np.array([3, 5, 9]), np.array(["bad", "good", "so-so"])])
def test_classification_metrics_equal_scikit_learn(labels):
    rng = np.random.default_rng(1)
    true = rng.choice(labels, 150, p=[0.6, 0.3, 0.1])
    probabilities = rng.dirichlet(np.ones(3), 150)
    predicted = labels[probabilities.argmax(1)]
    got = classification_metrics(true, probabilities, labels)
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    assert got["macro_f1"] == pytest.approx(oracle.f1_score(true, predicted, average="macro"))
    assert got["log_loss"] == pytest.approx(oracle.log_loss(true, probabilities, labels=labels))


def test_a_label_that_the_model_does_not_know_is_wrong():
    got = classification_metrics(
        np.array(["a", "c"]), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array(["a", "b"])
    )
    # a is right (F1 1), b is predicted once and never true (0), c is true once and never predicted (0)
    assert got == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3), "log_loss": None}


def test_verdict_names_the_metrics_on_which_a_baseline_is_better():
    model = {"rmse": 0.40, "mae": 0.30, "pearson_r": 0.49, "r2": 0.2}
    mean = {"rmse": 0.50, "mae": 0.29, "pearson_r": None, "r2": 0.0}
    ridge = {"rmse": 0.39, "mae": 0.28, "pearson_r": 0.514, "r2": 0.21}
    both = beside_baselines(model, {"mean": mean, "TF-IDF + ridge": ridge})
    assert both.baseline_wins
    assert both.sentence == (
        "The mean baseline is better than this model on 1 of 4 metrics: MAE 0.29 against 0.3. "
        "The TF-IDF + ridge baseline is better than this model: RMSE 0.39 against 0.4, MAE 0.28 against 0.3, "
        "Pearson r 0.514 against 0.49, R2 0.21 against 0.2."
    )
    won = beside_baselines(ridge, {"mean": mean, "tie": ridge}, "V")
    assert not won.baseline_wins
    assert won.sentence == (
        "No baseline is better than the model for 'V'; it is level with the tie baseline (RMSE, MAE, Pearson r, R2)."
    )


def test_less_log_loss_is_better():
    model = {"accuracy": 0.9, "macro_f1": 0.9, "log_loss": 0.7}
    assert beside_baselines(model, {"b": model | {"log_loss": 0.6}}).sentence == (
        "The b baseline is better than this model on 1 of 3 metrics: Log loss 0.6 against 0.7."
    )
