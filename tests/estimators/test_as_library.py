"""What scripts and notebooks do with estimators: fits that fail, threads, numbers of NumPy, tables, wrong halves."""

from __future__ import annotations

import enum
import threading
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.multiclass import OneVsRestClassifier

import unspool
from unspool import (
    Forecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceGenerator,
    SequenceRegressor,
    SequenceTagger,
)
from unspool.errors import DataError, InvalidParameterError
from unspool.training import Callback

SMALL: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "random_state": 0, "verbose": 0}
TEXTS = ["good day", "bad", "fine day", "awful bad day", "nice", "poor"] * 2
NUMBERS = [1.0, 0.0, 0.9, 0.1, 0.8, 0.2] * 2
LABELS = ["x", "y"] * 6
WALK = np.sin(np.arange(80) / 3)
TWO = {"early_stopping": False}

# name -> (estimator, a fit's data, other data that a later fit fails on, predictions)
KINDS: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...], Any]] = {
    "regressor": (
        SequenceRegressor(**SMALL, **TWO),
        (TEXTS, NUMBERS),
        (["z q"] * 4, [1, 2, 3, 4]),
        "predict",
    ),
    "classifier": (
        SequenceClassifier(**SMALL, **TWO),
        (TEXTS, LABELS),
        (["z q"] * 4, ["a", "b"] * 2),
        "predict_proba",
    ),
    "tagger": (
        SequenceTagger(**SMALL, **TWO),
        ([t.split() for t in TEXTS], [["O"] * len(t.split()) for t in TEXTS[:-1]] + [["B-a"]]),
        ([["z", "q"]] * 4, [["B-c", "O"]] * 4),
        "predict_proba",
    ),
    "generator": (SequenceGenerator(**SMALL, **TWO), (TEXTS,), (["zzqq"] * 4,), "score"),
    "seq2seq": (Seq2Seq(**SMALL, **TWO), (TEXTS, TEXTS), (["zq"] * 4, ["kk"] * 4), "predict"),
    "forecaster": (Forecaster(**SMALL, horizon=2), ([WALK],), ([WALK[:40] * 9, WALK],), "predict"),
}


class Raises(Callback):
    def on_epoch_end(self, trainer: Any) -> None:
        raise KeyError("the callback's own")


def answers(model: Any, how: str, X: Any) -> Any:
    found = model.predict() if how == "predict" and isinstance(model, Forecaster) else getattr(model, how)(X)
    return found if isinstance(found, (list, pl.DataFrame)) else np.asarray(found)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, pl.DataFrame):
        return bool(a.equals(b))
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(kind: str) -> None:
    model, data, others, how = KINDS[kind]
    fresh = clone(model)
    with pytest.raises(KeyError, match="own"):
        fresh.fit(*data, callbacks=[Raises()])
    assert vars(fresh).keys() == vars(clone(model)).keys()
    with pytest.raises(NotFittedError):
        answers(fresh, how, data[0])
    fitted = clone(model).fit(*data)
    before, attributes = answers(fitted, how, data[0]), dict(vars(fitted))
    with pytest.raises(KeyError, match="own"):
        fitted.fit(*others, callbacks=[Raises()])
    assert vars(fitted) == attributes and same(answers(fitted, how, data[0]), before)


def test_so_does_a_step_on_that_fails() -> None:
    model = SequenceClassifier(**SMALL, **TWO, warm_start=True).fit(TEXTS, LABELS)
    before, task, criterion = model.predict_proba(TEXTS), model.task_, model.task_.criterion
    model.set_params(label_smoothing=0.3)
    with pytest.raises(KeyError, match="own"):
        model.fit(TEXTS, LABELS, callbacks=[Raises()])
    assert model.task_ is task and model.task_.criterion is criterion
    with pytest.raises(DataError):
        model.partial_fit(TEXTS, ["q"] * 12)
    assert np.array_equal(model.predict_proba(TEXTS), before)


def test_a_seed_gives_the_same_numbers_in_threads() -> None:
    settings = {**SMALL, **TWO, "dropout": 0.5, "epochs": 3}
    found: list[Any] = [None, None]

    def fit(at: int) -> None:
        found[at] = SequenceRegressor(**settings).fit(TEXTS, NUMBERS).predict(TEXTS)

    threads = [threading.Thread(target=fit, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = SequenceRegressor(**settings).fit(TEXTS, NUMBERS).predict(TEXTS)
    assert all(np.array_equal(one, expected) for one in found)


@pytest.mark.parametrize("given", [(TEXTS,), (TEXTS, LABELS, [1] * 12), "dev", {"X": TEXTS, "y": LABELS}])
def test_validation_data_of_other_parts_is_refused(given: Any) -> None:
    for model, data in ((SequenceClassifier(**SMALL), (TEXTS, LABELS)), (Seq2Seq(**SMALL), (TEXTS, TEXTS))):
        with pytest.raises(DataError, match=r"validation_data must be \(X, y\)\. Got a"):
            model.fit(*data, validation_data=given)


def test_numbers_of_numpy_are_parameters(tmp_path: Any) -> None:
    given = {
        "dropout": np.float32(0.25),
        "input_dropout": np.float16(0.25),
        "learning_rate": np.float32(0.5**7),
        "gradient_clip": np.int64(1),
        "hidden_size": np.int32(4),
        "verbose": False,
    }
    model = SequenceRegressor(**{**SMALL, **TWO, **given}).fit(TEXTS, NUMBERS)
    plain = {name: value if isinstance(value, bool) else value.item() for name, value in given.items()}
    expected = SequenceRegressor(**{**SMALL, **TWO, **plain}).fit(TEXTS, NUMBERS).predict(TEXTS)
    model.set_params(random_state=np.random.default_rng(0)).save(tmp_path / "m")
    assert np.array_equal(model.predict(TEXTS), expected)
    assert np.array_equal(unspool.load(tmp_path / "m").predict(TEXTS), expected)


class Tone(str, enum.Enum):
    GOOD = "good"
    GREAT = "great"
    AWFUL = "awful"


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([Tone.GOOD, Tone.GREAT, Tone.AWFUL] * 4, ["awful", "good", "great"]),
        (np.array([3, 5] * 6, dtype=object), [3, 5]),
        (np.array([np.int8(3), np.int8(5)] * 6, dtype=object), [3, 5]),
        (np.array([True, False] * 6, dtype=object), [False, True]),
    ],
)
def test_labels_are_what_they_stand_for(y: Any, classes: list[Any]) -> None:
    """NumPy cuts the name of an enumeration's member to the length of its value: two classes became one."""
    assert SequenceClassifier(**SMALL, **TWO).fit(TEXTS, y).classes_.tolist() == classes


def test_tables_of_other_columns_are_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 5, 2))
    tables = [pl.DataFrame({"u": row[:, 0], "v": row[:, 1]}) for row in rows]
    model = SequenceRegressor(**SMALL, **TWO).fit(tables, NUMBERS[:6])
    assert model.feature_names_in_.tolist() == ["u", "v"]
    assert np.array_equal(model.predict(tables), model.predict(rows))
    with pytest.raises(DataError, match="'u', 'v' in row 0 and 'v', 'u' in row 1"):
        model.predict([tables[0], tables[1].select("v", "u")])
    for call in (model.predict, lambda X: model.partial_fit(X, NUMBERS[:6])):
        with pytest.raises(DataError, match=r"columns of the fit, 'u', 'v', in that order\. Got 'v', 'u'"):
            call([table.select("v", "u") for table in tables])
    assert not hasattr(model.fit(rows, NUMBERS[:6]), "feature_names_in_")


def test_one_column_of_texts_is_the_texts() -> None:
    """As scikit-learn's column transformers and its estimators of several models give and want them."""
    model = SequenceClassifier(**SMALL, **TWO).fit(TEXTS, LABELS)
    column = np.array(TEXTS, dtype=object)[:, None]
    for X in (column, pl.DataFrame({"text": TEXTS})):
        assert np.array_equal(model.predict_proba(X), model.predict_proba(TEXTS))
    several = OneVsRestClassifier(SequenceClassifier(**SMALL, **TWO)).fit(column, ["a", "b", "c"] * 4)
    assert several.predict(column).shape == (12,)


def test_scores_of_what_does_not_fit() -> None:
    numbers = SequenceRegressor(**SMALL, **TWO).fit(TEXTS, NUMBERS)
    classes = SequenceClassifier(**SMALL, **TWO).fit(TEXTS, [1, 2] * 6)
    for model, y, said in (
        (numbers, NUMBERS[:3], r"each of the 12 sequences of X. Got shape \(3,\)"),
        (numbers, [float("nan")] * 12, "finite real numbers"),
        (numbers, np.ones((12, 2)), r"shape of the predictions, \(12,\). Got \(12, 2\)"),
        (classes, [1] * 3, r"Got shape \(3,\)"),
        (classes, ["1"] * 12, "labels as those of the fit, such as 1. Got '1'"),
        (classes, [None] * 12, "a label in every row"),
    ):
        with pytest.raises(DataError, match=said):
            model.score(TEXTS, y)
    column = np.array(NUMBERS)[:, None]
    assert numbers.score(TEXTS, column) == numbers.score(TEXTS, NUMBERS)
    assert numbers.score(TEXTS, NUMBERS, torch.ones(12, requires_grad=True)) == numbers.score(TEXTS, NUMBERS)


@pytest.mark.parametrize(
    ("classes", "said"),
    [(["x", None], "a label in every row"), ("xy", "Got a str"), ([["x", "y"], ["y", "z"]], "one label")],
)
def test_classes_that_are_no_labels(classes: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"classes must be a list of all labels.*{said}"):
        SequenceClassifier(**SMALL).partial_fit(TEXTS, LABELS, classes=classes)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRUCell, unspool.nn.LSTM])
def test_layers_are_no_cells(kind: Any) -> None:
    with pytest.raises(
        InvalidParameterError, match=r"'cell' parameter .* must be a cell, with forward.*unspool\.cells"
    ):
        SequenceClassifier(**SMALL, cell=kind).fit(TEXTS, LABELS)
    cell: Any = unspool.nn.GRUCell
    assert SequenceClassifier(**SMALL, **TWO, cell=cell).fit(TEXTS, LABELS).predict(TEXTS).shape == (12,)


def test_a_checkpoint_that_is_a_folder_and_too_many_names(tmp_path: Any) -> None:
    for model, data in (
        (SequenceClassifier(**SMALL), (TEXTS, LABELS)),
        (SequenceGenerator(**SMALL), (TEXTS,)),
    ):
        with pytest.raises(
            InvalidParameterError, match=r"'checkpoint' parameter .* name of a file.* That is a folder"
        ):
            model.fit(*data, checkpoint=tmp_path)
    fitted = SequenceClassifier(**SMALL, **TWO).fit(TEXTS, LABELS)
    for names in (["a", "b"], "a"):
        with pytest.raises(InvalidParameterError, match=r"'names' parameter .* a list of 1, one a target"):
            fitted.columns(TEXTS, names=names)


def test_measured_forecasts_print_what_they_are() -> None:
    found = Forecaster(**SMALL, horizon=2).fit([WALK, WALK]).backtest([WALK, WALK], n_windows=3)
    assert repr(found) == "Backtest(6 forecasts of 2 steps, of 2 series)"


@pytest.mark.parametrize(
    ("X", "said"), [((t for t in TEXTS), "a generator.*pass list"), (None, "Got None"), (7, "an int")]
)
def test_what_is_no_list(X: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        SequenceClassifier(**SMALL).fit(X, LABELS)
