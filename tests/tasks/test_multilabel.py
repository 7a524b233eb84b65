"""Any number of labels a sequence: learnt, given by thresholds, measured, saved; against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.evaluation.baselines import multilabel_baselines
from unspool.evaluation.blend import blend_labels
from unspool.evaluation.linear import fit_linear
from unspool.evaluation.metrics import multilabel_metrics
from unspool.tasks import MultiLabel
from unspool.text import TextEncoder
from unspool.training.losses import LabelLoss

SMALL = {
    "hidden_size": 8,
    "embedding_dim": 8,
    "epochs": 6,
    "learning_rate": 0.01,
    "random_state": 0,
    "verbose": 0,
}
WORDS = [a + b for a in "bcdfghkl" for b in ("an", "ol", "ir", "ut", "eg")]


def made(count: int = 300, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts, and for each of three labels whether one of its words stands in them; a few have none."""
    random = np.random.default_rng(seed)
    rows = [random.choice(WORDS, random.integers(1, 7)) for _ in range(count)]
    y = np.array([[any(w in WORDS[k::9] for w in row) for k in range(3)] for row in rows])
    return [" ".join(row) for row in rows], y.astype(int)


@pytest.fixture(scope="module")
def model() -> SequenceClassifier:
    X, y = made()
    return SequenceClassifier(**{**SMALL, "epochs": 15}, blend=False, dropout=0.0, input_dropout=0.0).fit(
        X, pl.DataFrame(y, schema=["red", "green", "blue"])
    )


def test_it_learns_labels_that_go_together_or_not_at_all(model):
    X, y = made(200, 1)
    assert (y.sum(1) == 0).any() and (y.sum(1) > 1).any()
    found = model.predict(X)
    assert found.shape == y.shape and found.dtype == np.int64
    assert f1_score(y, found, average="micro") > 0.85
    assert model.score(X, y) == accuracy_score(y, found)
    assert model.classes_.tolist() == ["red", "green", "blue"]


def test_probabilities_are_each_labels_own(model):
    X, _ = made(50, 2)
    shares = model.predict_proba(X)
    with torch.inference_mode():
        logits = model.network_(model.input_.encode(unspool.encode.read_input(X)))
    warmth = model.task_.temperature
    np.testing.assert_allclose(shares, torch.sigmoid(logits.double() / warmth).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X), shares >= model.task_.thresholds)
    assert list(model.columns(X[:2])) == [
        *("prediction_red", "prediction_green", "prediction_blue"),
        *("probability_red", "probability_green", "probability_blue"),
    ]


def test_the_loss_is_the_mean_cross_entropy_of_the_labels():
    torch.manual_seed(0)
    logits, y = torch.randn(7, 3, dtype=torch.float64), torch.randint(0, 2, (7, 3)).double()
    shares = torch.sigmoid(logits).numpy()
    expected = np.mean([log_loss(y[:, k], shares[:, k], labels=[0, 1]) for k in range(3)])
    assert LabelLoss()(logits, y).item() == pytest.approx(expected)
    assert LabelLoss().errors(logits, y).mean().item() == pytest.approx(expected)


def test_thresholds_are_of_the_held_back_rows():
    X, y = made(120)
    rare = y.copy()
    rare[:, 0] = np.arange(120) < 3  # too few to choose by
    model = SequenceClassifier(**{**SMALL, "epochs": 1}, blend=False).fit(X, rare, validation_data=(X, rare))
    assert model.task_.thresholds[0] == 0.5 and (model.task_.thresholds[1:] != 0.5).all()
    found = model.predict_proba(X)
    for k in (1, 2):
        best = max(f1_score(rare[:, k], found[:, k] >= cut) for cut in np.unique(found[:, k]))
        assert f1_score(rare[:, k], model.predict(X)[:, k]) == best
    alone = SequenceClassifier(**{**SMALL, "epochs": 1}, early_stopping=False).fit(X, rare)
    assert alone.task_.thresholds.tolist() == [0.5] * 3


@pytest.mark.parametrize("blend", [True, False])
def test_it_is_saved(blend, tmp_path):
    X, y = made(150)
    model = SequenceClassifier(**{**SMALL, "epochs": 2, "validation_fraction": 0.3}, blend=blend).fit(X, y)
    assert (model.linear_ is not None) == blend
    model.save(tmp_path / "m.zip")
    again = unspool.load(tmp_path / "m.zip")
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(again.task_.thresholds, model.task_.thresholds)
    assert again.classes_.tolist() == [0, 1, 2] and type(again.task_) is MultiLabel


def test_a_damaged_file_is_refused(model, tmp_path):
    for n, change in enumerate(
        [{"labels": ["a", "a", "b"]}, {"thresholds": [0.5]}, {"labels": [None, "a", "b"]}]
    ):
        model.save(tmp_path / f"m{n}")
        file = tmp_path / f"m{n}" / "model.json"
        content = json.loads(file.read_text())
        content["target"] |= change
        file.write_text(json.dumps(content))
        with pytest.raises(ModelFileError):
            unspool.load(tmp_path / f"m{n}")


def test_it_learns_on():
    X, y = made(100)
    model = SequenceClassifier(**SMALL, warm_start=True, blend=False).fit(X, y)
    before = model.predict_proba(X)
    assert not np.array_equal(model.fit(X, y).predict_proba(X), before)
    step = SequenceClassifier(**SMALL).partial_fit(X, y).partial_fit(X[:50], y[:50])
    assert step.predict(X).shape == (100, 3)
    with pytest.raises(DataError, match="leave classes out"):
        step.partial_fit(X, y, classes=[0, 1, 2])


def test_one_label_in_every_row_is_one_hot_unless_said_otherwise():
    X = ["bin bin", "kol kol", "dag dag"] * 20
    y = np.eye(3, dtype=int)[[0, 1, 2] * 20]
    plain = SequenceClassifier(**{**SMALL, "epochs": 1}).fit(X, y)
    assert plain.predict(X).shape == (60,)
    several = SequenceClassifier(**{**SMALL, "epochs": 1}, multilabel=True).fit(X, y)
    assert several.predict(X).shape == (60, 3)


@pytest.mark.parametrize(
    ("y", "settings", "error", "message"),
    [
        (
            np.array([[0, 2], [1, 0], [1, 1]] * 5),
            {"multilabel": True},
            DataError,
            "must hold 0 or 1. Got 2 in row 0",
        ),
        (np.array([[0], [1], [1]] * 5), {"multilabel": True}, DataError, "two labels or more"),
        (np.ones((15, 2), int), {}, DataError, "nothing to learn"),
        (
            np.array([[0, 0], [1, 1], [1, 0]] * 5),
            {"class_weight": "balanced"},
            InvalidParameterError,
            "several labels",
        ),
        (np.array([[0, 0], [1, 1], [1, 0]] * 5), {"loss": "huber"}, InvalidParameterError, "cross-entropy"),
        (
            np.array([[0, 0], [1, 1], [1, 0]] * 5),
            {"multilabel": False},
            DataError,
            "must have one label a sequence",
        ),
    ],
)
def test_what_cannot_be_learnt_says_so(y, settings, error, message):
    with pytest.raises(error, match=message):
        SequenceClassifier(**SMALL, **settings).fit(["a b", "b", "c a"] * 5, y)


class ArrowTable:
    """What speaks Arrow's interface and has the names of pyarrow's tables."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame, self.column_names = frame, frame.columns
        self.columns = list(frame.iter_columns())

    def __len__(self) -> int:
        return self.frame.height

    def __arrow_c_stream__(self, requested_schema=None):
        return self.frame.__arrow_c_stream__(requested_schema)


def test_columns_of_arrow_tables_are_labels_with_names():
    X, y = made(40)
    y = ArrowTable(pl.DataFrame(y, schema=["red", "green", "blue"]))
    model = SequenceClassifier(**{**SMALL, "epochs": 1}).fit(X, y)
    assert model.classes_.tolist() == ["red", "green", "blue"]
    beside = ArrowTable(pl.DataFrame({"text": X, "size": np.arange(40.0)}))
    named = {"text_column": "text", "numeric": ("size",)}
    of_dict = {"text": X, "size": np.arange(40.0).tolist()}
    found = [
        SequenceRegressor(**{**SMALL, "epochs": 1}, **named).fit(given, np.arange(40.0)).predict(given)
        for given in (beside, of_dict)
    ]
    np.testing.assert_array_equal(*found)


def test_numbers_have_no_labels():
    with pytest.raises(InvalidParameterError, match="numbers have no classes"):
        SequenceRegressor(**SMALL, multilabel=True).fit(["a", "b"] * 9, np.arange(18.0))


def test_other_labels_than_in_training_are_refused(model):
    X, y = made(5)
    with pytest.raises(DataError, match="the 3 labels of training"):
        model.score(X, y[:, :2])
    with pytest.raises(DataError, match="in this order"):
        model.score(X, pl.DataFrame(y, schema=["green", "red", "blue"]))


def test_metrics_are_scikit_learns():
    random = np.random.default_rng(0)
    y, found, share = random.integers(0, 2, (40, 3)), random.integers(0, 2, (40, 3)), random.random((40, 3))
    metrics = multilabel_metrics(y, found, share)
    assert metrics["micro_f1"] == pytest.approx(f1_score(y, found, average="micro"))
    assert metrics["macro_f1"] == pytest.approx(f1_score(y, found, average="macro"))
    assert metrics["exact_match"] == accuracy_score(y, found)
    assert metrics["log_loss"] == pytest.approx(
        np.mean([log_loss(y[:, k], share[:, k]) for k in range(3)]), rel=1e-6
    )


def test_the_linear_model_is_a_logistic_regression_a_label():
    X, y = made(150)
    y[:, 2] = 1  # a label of every row
    model = fit_linear(TextEncoder(), X, y, labels=True, penalty=np.array([0.5]))
    terms = model.terms.transform(X)
    for k in range(2):
        twin = LogisticRegression(C=2, solver="newton-cg", tol=1e-6).fit(terms, y[:, k])
        np.testing.assert_allclose(model.outputs(X)[:, k], twin.decision_function(terms), atol=1e-3)
    assert (model.outputs(X)[:, 2] == 20).all()


def test_the_blend_has_the_least_cross_entropy():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, (400, 3))
    network, linear = (2 * y - 1 + random.normal(0, s, y.shape) for s in (1, 2))
    blend = blend_labels(network, linear, y)
    loss = LabelLoss()

    def total(a: float, b: float) -> float:
        each = loss(torch.tensor(a * network + b * linear), torch.tensor(y, dtype=torch.float64)).item()
        return 400 * each + 2 * (a**2 + (b - 1) ** 2)

    a, b = blend.first[0], blend.second[0]
    around = [total(a + da, b + db) for da in (-0.05, 0, 0.05) for db in (-0.05, 0, 0.05)]
    assert min(around) == around[4] and a > b


def test_baselines_give_labels_by_thresholds_of_their_own():
    X, y = made(100)
    majority, linear = multilabel_baselines(X, y)
    new, truth = made(60, 1)
    np.testing.assert_allclose(majority.predict_proba(new)[0], y.mean(0))
    np.testing.assert_array_equal(majority.predict(new)[0], y.mean(0) >= 0.5)
    assert f1_score(truth, linear.predict(new), average="micro") > 0.75
    held = multilabel_baselines(X, y, validation=(new, truth))[1]
    for k in range(3):
        share = held.predict_proba(new)[:, k]
        best = max(f1_score(truth[:, k], share >= cut) for cut in np.unique(share))
        assert f1_score(truth[:, k], held.predict(new)[:, k]) == best
