"""`calibrate`: the temperature comes from held-back rows, is saved, and changes no answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import unspool
from unspool import SequenceClassifier
from unspool.encode import read_input
from unspool.evaluation.calibration import calibration_of
from unspool.tasks.calibration import temperature

SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "embedding_dim": 6,
    "epochs": 8,
    "learning_rate": 0.02,
    "random_state": 0,
    "verbose": 0,
}
WORDS = [a + b for a in "bcdfgh" for b in ("an", "ol", "ir", "ut")]


def made(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts, and which third of the list most of their words come from, a quarter of them wrong."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, len(WORDS), random.integers(1, 8)) for _ in range(count)]
    y = np.array([np.bincount(row // 8, minlength=3).argmax() for row in rows])
    wrong = random.random(count) < 0.25
    y[wrong] = random.integers(0, 3, wrong.sum())
    return [" ".join(WORDS[i] for i in row) for row in rows], y


@pytest.mark.parametrize("blend", [True, False])
def test_probabilities_are_softened_and_answers_stay(blend, tmp_path):
    X, y = made(400, 0)
    held, truth = made(200, 1)
    plain, model = (
        SequenceClassifier(**SMALL, blend=blend, label_smoothing=0.3, calibrate=calibrate).fit(
            X, y, validation_data=(held, truth)
        )
        for calibrate in (False, None)
    )
    assert plain.task_.temperature == 1.0 != model.task_.temperature
    np.testing.assert_array_equal(model.predict(held), plain.predict(held))
    np.testing.assert_array_equal(model.uncalibrated().predict_proba(held), plain.predict_proba(held))
    logits = np.log(plain.predict_proba(held))
    assert model.task_.temperature == pytest.approx(temperature(logits, truth), rel=1e-3)
    scaled = np.exp(logits / model.task_.temperature)
    np.testing.assert_allclose(model.predict_proba(held), scaled / scaled.sum(1, keepdims=True), rtol=1e-6)
    if (
        not blend
    ):  # smoothed labels leave the network less sure than it could be; the blend has weights of its own
        assert model.task_.temperature < 0.9
        new, labels = made(600, 2)
        found = calibration_of(model, new, labels)
        assert found["after"]["brier"] < found["before"]["brier"]
        assert found["after"]["ece"] < found["before"]["ece"]
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    np.testing.assert_allclose(again.predict_proba(held), model.predict_proba(held), rtol=1e-5)
    assert again.calibrate is None and plain.calibrate is False


def test_weights_of_classes_are_not_undone():
    X, y = made(400, 0)
    weights = {0: 15.0, 1: 1.0, 2: 1.0}
    found = [
        SequenceClassifier(**SMALL, blend=False, class_weight=weights, calibrate=calibrate).fit(
            X, y, validation_data=(X, y)
        )
        for calibrate in (False, True)
    ]
    shares = [model.predict_proba(X)[:, 0].mean() for model in found]
    assert shares[1] > 0.9 * shares[0] > 0.9 * (y == 0).mean() * 1.2


def test_no_held_back_rows_no_temperature():
    X, y = made(60, 0)
    model = SequenceClassifier(**{**SMALL, "epochs": 1}, calibrate=True, early_stopping=False).fit(X, y)
    assert model.task_.temperature == 1.0


def test_of_several_labels_thresholds_are_of_what_is_given():
    X, y = made(400, 0)
    hot = np.stack([y == 0, y <= 1], 1).astype(int)
    model = SequenceClassifier(**SMALL, blend=False, calibrate=True).fit(X, hot, validation_data=(X, hot))
    plain = SequenceClassifier(**SMALL, blend=False, calibrate=False).fit(X, hot, validation_data=(X, hot))
    assert model.task_.temperature != 1.0
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    found = model._outputs(X)
    np.testing.assert_allclose(
        model.predict_proba(X), 1 / (1 + np.exp(-found / model.task_.temperature)), rtol=1e-6
    )


def test_series_are_calibrated_too():
    random = np.random.default_rng(0)
    X = [random.normal(size=(int(n), 1)) for n in random.integers(3, 9, 120)]
    y = np.array([int(x.mean() > 0) for x in X])
    model = SequenceClassifier(hidden_size=4, epochs=2, random_state=0, verbose=0, calibrate=True)
    model.fit(X, y, validation_data=(X[:60], y[:60]))
    assert read_input(X).kind == "series" and model.task_.temperature != 1.0


def test_the_command_line_shows_both(tmp_path):
    import polars as pl
    from cli.conftest import run

    X, y = made(200, 0)
    pl.DataFrame({"text": X, "y": y}).write_csv(tmp_path / "t.csv")
    small = ("--hidden-size", "6", "--epochs", "2", "--quiet")
    named = (tmp_path / "t.csv", "--input", "text", "--target", "y")
    told = run("fit", *named, "--calibrate", "--out", tmp_path / "m", *small, "--validation-fraction", "0.3")
    assert "before and after a temperature of" in told.stdout
    facts = json.loads((tmp_path / "m-report" / "metrics.json").read_text())["calibration"]
    assert facts["temperature"] != 1.0 and facts["before"] != facts["after"]
    assert "before and after a temperature of" in run("evaluate", tmp_path / "m", *named).stdout
    told = run("fit", *named, "--no-calibrate", "--out", tmp_path / "n", *small).stdout
    assert "Probabilities, as the model gives them: calibration error (ECE)" in told
