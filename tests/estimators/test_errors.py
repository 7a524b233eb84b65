"""Errors, warnings, Ctrl-C."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from unspool import Ragged, SequenceClassifier, SequenceRegressor, cells
from unspool.errors import DataError, InvalidParameterError
from unspool.estimators import DivergenceError
from unspool.training import Trainer

from .conftest import SMALL, make_texts

QUICK = {**SMALL, "epochs": 1}
NAN = float("nan")
WORDS = ["a b", "c", "b c a"]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([], [], "0 sample"),
        (np.zeros((0, 3)), [], "0 sample"),
        (["one"], [1.0], "two sequences .* Got 1"),
        (WORDS, [1.0, NAN, 2.0], "finite.*row 1"),
        (WORDS, [1.0, 2.0, float("inf")], "finite.*row 2"),
        (WORDS, ["x", "y", "z"], "y must be numbers"),
        (WORDS, [1.0, 2.0], "one row for each of the 3"),
        (WORDS, None, "y is required"),
        (WORDS, np.zeros((3, 1, 1)), "one row for each"),
        (["a", None, "b"], [1, 2, 3], "row 1 must be a str. Got NoneType"),
        (["a", NAN, "b"], [1, 2, 3], "row 1 must be a str. Got float"),
        (["a", [1, 2], "b"], [1, 2, 3], "row 1 must be a str. Got list"),
        ("one text", [1, 2], "list of texts.*Got str"),
        ([b"a", b"b"], [1, 2], "Got bytes in row 0"),
        (["!", ""], [1, 2], None),
        (["", " "], [1, 2], "holds a word"),
        ([[1, 2], [-3], [4]], [1, 2, 3], "0 or more. Got -3 in sequence 1"),
        ([[], [], []], [1, 2, 3], "Every training sequence is empty"),
        ([1.0, 2.0, 3.0], [1, 2, 3], "float in row 0"),
        (np.arange(3.0), [1, 2, 3], r"shape \(3,\).*Reshape your data"),
        ([np.zeros((2, 2)), np.full((3, 2), -np.inf)], [1, 2], "Sequence 1 holds infinity"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], [1, 2], "agree"),
        ([np.zeros((2, 2)), np.zeros(2)], [1, 2], "1, 2. axes mixed"),
        ([[1.0, "x"], [2.0]], [1, 2], "Row 0|row 0"),
    ],
)
def test_data_that_cannot_be_used(X: Any, y: Any, message: str | None) -> None:
    model = SequenceRegressor(**{**QUICK, "early_stopping": False})
    if message is None:
        model.fit(X, y)
        return
    with pytest.raises(DataError) as caught:
        model.fit(X, y)
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["x", "x", "x"], "two classes or more. Got 1 class"),
        ([0.1, 0.2, 0.35], "continuous"),
        (["x", None, "y"], "row 1"),
        ([1.0, NAN, 2.0], "row 1"),
        (np.array(["x", 3, "y"], dtype=object), "one type"),
        ([["x", "a"], ["y", "a"], ["z", "a"]], "one label"),
    ],
)
def test_labels_that_cannot_be_used(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SequenceClassifier(**QUICK).fit(WORDS, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell", "lstn"),
        ("cell", 3),
        ("hidden_size", 0),
        ("hidden_size", 2.5),
        ("hidden_size", (4, 0)),
        ("hidden_size", ()),
        ("merge", None),
        ("connection", "skip"),
        ("input_dropout", 1.0),
        ("recurrent_dropout", -0.1),
        ("zoneout", (0.1, 1.0)),
        ("weight_dropout", "x"),
        ("cell", cells.LSTMCell(3, 4)),
        ("num_layers", True),
        ("pooling", "mean+median"),
        ("dense", 256),
        ("dense", (0,)),
        ("dropout", 1.0),
        ("level", "words"),
        ("learning_rate", 0.0),
        ("gradient_clip", -1.0),
        ("validation_fraction", 1.0),
        ("embedding_update", "lazy"),
        ("random_state", "x"),
        ("bidirectional", "yes"),
        ("early_stopping", 2),
        ("patience", 0),
    ],
)
def test_parameters_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
        SequenceRegressor(**{**QUICK, name: value}).fit(WORDS, [1, 2, 3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": (4, 5), "num_layers": 3}, "'num_layers' .* left out or 2"),
        ({"connection": "residual"}, "'connection' .* None for one layer"),
        ({"connection": "highway", "hidden_size": (4, 5)}, "different output widths"),
        ({"merge": "sum", "bidirectional": False}, "'merge' .* left out without bidirectional=True"),
        (
            {
                "merge": "sum",
                "bidirectional": True,
                "connection": "residual",
                "num_layers": 2,
                "pooling": "last",
            },
            "'concat' for pooling 'last' with connection='residual'",
        ),
        ({"zoneout": (0.1, 0.1, 0.1)}, "a number, or 2 numbers"),
        ({"recurrent_dropout": 0.1, "cell": "min_gru"}, "0 for MinGRUCell"),
    ],
)
def test_parameters_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        SequenceRegressor(**{**QUICK, **settings}).fit(WORDS, [1, 2, 3])


def test_sample_weights_out_of_range() -> None:
    for weight in ([1, 2], [1, -1, 1], [0, 0, 0], [1, NAN, 1]):
        with pytest.raises(DataError, match="sample_weight"):
            SequenceRegressor(**QUICK).fit(WORDS, [1, 2, 3], sample_weight=weight)


def test_what_a_fitted_model_refuses() -> None:
    with pytest.raises(NotFittedError):
        SequenceRegressor().predict(WORDS)
    ids = SequenceRegressor(**{**QUICK, "early_stopping": False}).fit([[1, 2], [5]], [1, 2])
    with pytest.raises(DataError, match=r"below 6.*Got 6 in sequence 1"):
        ids.predict([[1], [2, 6]])
    with pytest.raises(DataError, match=r"fitted on token ids\. Got texts"):
        ids.predict(["a"])
    series = SequenceRegressor(**{**QUICK, "early_stopping": False}).fit([np.eye(2), np.ones((3, 2))], [1, 2])
    with pytest.raises(DataError, match="3 features a step, but the model was fitted with 2"):
        series.predict([np.eye(3)])
    assert series.predict([np.zeros((0, 2)), np.eye(2)]).shape == (2,)
    assert np.array_equal(series.predict([np.eye(2, dtype=int)]), series.predict([np.eye(2)]))
    classes = SequenceClassifier(**QUICK)
    with pytest.raises(DataError, match="class that the model was not fitted with: 'z'"):
        classes.fit(WORDS, ["x", "y", "x"], validation_data=(["a"], ["z"]))


def test_texts_without_a_known_word_are_counted() -> None:
    model = SequenceRegressor(**{**QUICK, "early_stopping": False}).fit(WORDS, [1, 2, 3])
    with pytest.warns(UserWarning, match="2 of 3 texts hold no word") as caught:
        model.predict(["xyz", "a xyz", ""])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(["a xyz"])


def test_a_loss_that_is_not_finite_names_epoch_and_batch() -> None:
    X, y = make_texts(64)
    model = SequenceRegressor(**{**SMALL, "learning_rate": 1e30, "gradient_clip": None})
    with pytest.raises(
        DivergenceError, match=r"(nan|inf) in epoch 1, batch [1-4]\. The first .* Try a smaller"
    ):
        model.fit(X, y, validation_data=(X, y))


@pytest.mark.parametrize("stop_at", [1, 3])
def test_ctrl_c_keeps_the_best_weights_so_far(
    stop_at: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted in the middle of epoch `stop_at`, the model is that of `stop_at` - 1 epochs."""
    X, y = make_texts(64)
    steps = 0
    train_step = Trainer.train_step

    def interrupted(self: Trainer, batch: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4 * (stop_at - 1) + 3:
            raise KeyboardInterrupt
        return train_step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    model = SequenceRegressor(**SMALL).fit(X, y, validation_data=(X, y))
    assert model.interrupted_ and len(model.history_) == model.best_epoch_ == stop_at - 1
    assert "Interrupted" in capsys.readouterr().out
    monkeypatch.undo()
    assert np.isfinite(model.predict(X)).all()
    if stop_at > 1:
        whole = SequenceRegressor(**{**SMALL, "epochs": stop_at - 1}).fit(X, y, validation_data=(X, y))
        assert not whole.interrupted_
        assert np.array_equal(model.predict(X), whole.predict(X))


def test_epochs_are_printed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = make_texts(64)
    SequenceRegressor(**{**SMALL, "epochs": 2, "verbose": 1}).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "58 sequences to train, 6 to validate"
    assert re.fullmatch(r"epoch   1   train loss [\d.]+   validation loss [\d.]+ \*   [\d.]+ s", lines[1])
    assert len(lines) == 3
    SequenceRegressor(**{**SMALL, "epochs": 2}).fit(X, y)
    assert capsys.readouterr().out == ""


def test_empty_sequences_train_and_predict() -> None:
    X = Ragged.from_list([[1, 2], [], [3], []])
    for pooling in ("last", "first", "mean", "max", "attention"):
        model = SequenceRegressor(**{**QUICK, "pooling": pooling, "early_stopping": False})
        prediction = model.fit(X, [1.0, 2.0, 3.0, 4.0]).predict(X)
        assert np.isfinite(prediction).all() and prediction[1] == prediction[3]
        assert torch.isfinite(model.network_.embedding.weight).all()


@pytest.mark.parametrize(
    ("estimator", "settings", "message"),
    [
        (
            SequenceRegressor,
            {"label_smoothing": 0.1},
            "'label_smoothing'.* None: numbers have no classes. Got 0.1",
        ),
        (SequenceRegressor, {"class_weight": "balanced"}, "'class_weight'.* None: numbers have no classes"),
        (SequenceRegressor, {"quantile": 0.9}, "'quantile'.* 0.5 with loss='squared'.* Got 0.9"),
        (SequenceClassifier, {"quantile": 0.9}, "'quantile'.* left at 0.5: classes have cross-entropy"),
        (SequenceClassifier, {"loss": "huber"}, "'loss'.* left at 'squared': classes have cross-entropy"),
    ],
)
def test_options_of_the_other_task_are_refused(
    estimator: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        estimator(**QUICK, **settings).fit(WORDS, [0, 1, 0])
