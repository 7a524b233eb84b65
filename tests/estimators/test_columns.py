"""Columns of numbers and categories beside the sequences, against matrices made by hand and generated signals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.encode import Raw
from unspool.encode.columns import Columns
from unspool.errors import DataError, InvalidParameterError, ModelFileError

from .conftest import SMALL

NAMED: dict[str, Any] = {"text_column": "text", "numeric": ("size",), "categorical": ("shop",)}
SHOPS = {"a": -2.0, "b": 0.0, "c": 2.0}


def signal(count: int = 300, seed: int = 0) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Texts that say nothing; y = 10 + 3 z + shop's value, z the standardised size."""
    random = np.random.RandomState(seed)
    texts = [" ".join(random.choice(list("uvwxyz"), random.randint(1, 6))) for _ in range(count)]
    sizes, shops = 500 + 70 * random.randn(count), random.choice(list(SHOPS), count)
    y = 10 + 3 * (sizes - 500) / 70 + np.array([SHOPS[s] for s in shops])
    return {"text": texts, "size": sizes.tolist(), "shop": shops.tolist(), "unused": [None] * count}, y


def r2(y: np.ndarray, p: np.ndarray) -> float:
    return float(1 - ((y - p) ** 2).mean() / y.var())


def test_the_matrix_is_the_one_made_by_hand() -> None:
    raw = Raw("text", ["x"] * 6, {"n": [1, 3, None, 5.0, 3, 3], "c": ["p", "q", "p", "q", None, "single"]})
    columns = Columns.fit(raw, ["n"], ["c"])
    scale = np.std([1, 3, 5, 3, 3])
    new = Raw("text", ["x"] * 3, {"n": [5, float("nan"), 3], "c": ["q", "never", "p"]})
    expected = [[2 / scale, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]
    assert columns.width == 5
    np.testing.assert_allclose(columns.encode(new).numpy(), expected, rtol=1e-6)


def test_a_whole_number_is_one_category_as_int_float_and_text() -> None:
    columns = Columns.fit(Raw("text", ["x"] * 4, {"c": [1, 1.0, "1", "1"]}), [], ["c"])
    assert columns.encode(Raw("text", ["x"] * 2, {"c": [np.int64(1), "1"]})).tolist() == [[1.0], [1.0]]


def test_numbers_far_from_those_of_training_are_refused() -> None:
    columns = Columns.fit(Raw("text", ["x"] * 4, {"n": [1, 2, 3, 4]}), ["n"], [])
    with pytest.raises(
        DataError, match=r"Column 'n' holds a number too far .* in row 1, counted from 0: 1e\+300"
    ):
        columns.encode(Raw("text", ["x"] * 2, {"n": [1, 1e300]}))


def test_what_no_training_row_had_is_said() -> None:
    columns = Columns.fit(Raw("text", ["x"] * 4, {"n": [1, 2, 3, 4], "c": list("ppqq")}), ["n"], ["c"])
    with pytest.warns(UserWarning) as told:
        found = columns.encode(Raw("text", ["x"], {"n": [None], "c": ["z"]}), warn=True)
    assert found.tolist() == [[0, 0, 0]]
    assert [re.findall("'(.)'.*as (.*)\\.", str(w.message))[0] for w in told] == [
        ("n", "the mean"),
        ("c", "no category"),
    ]


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("frame", [dict, pl.DataFrame])
def test_the_columns_carry_the_signal(frame: Any, blend: bool) -> None:
    (X, y), (Z, z) = signal(), signal(200, 1)
    settings = {**SMALL, "epochs": 25, "blend": blend, "dropout": 0.5}
    model = SequenceRegressor(**settings, **NAMED).fit(frame(X), y)
    assert r2(z, model.predict(frame(Z))) > 0.95
    assert r2(z, model.network_alone().predict(frame(Z))) > 0.93
    if blend:
        linear = model.linear_.outputs(Z["text"], model.columns_.encode(model._read(Z)).double().numpy())
        assert r2(z, linear[:, 0] * model.task_.scale + model.task_.mean) > 0.95
    plain = SequenceRegressor(**settings).fit(X["text"], y)
    assert r2(z, plain.predict(Z["text"])) < 0.2


def test_classes_ensembles_saving_and_freezing(tmp_path: Any) -> None:
    (X, y), (Z, z) = signal(), signal(100, 1)
    X["size"][::20] = [None] * 15
    X["shop"][5] = "only once"
    settings = {**SMALL, "blend": True, "ensemble": 2}
    model = SequenceClassifier(**settings, **NAMED).fit(X, np.where(y > 10, "much", "little"))
    assert model.score(Z, np.where(z > 10, "much", "little")) > 0.9
    Z["shop"][0], Z["size"][1] = "never seen", float("nan")
    before = model.predict_proba(Z)
    for path in (tmp_path / "folder", tmp_path / "model.zip"):
        model.save(path)
        loaded = unspool.load(path)
        assert (loaded.predict_proba(Z) == before).all()
        assert loaded.get_params()["numeric"] == ("size",)
        assert loaded.describe() == model.describe()
    np.testing.assert_allclose(model.freeze().predict_proba(Z), before, atol=1e-6)
    assert (
        "size (number, missing ones as the mean and told apart), shop (3 categories and others)"
        in model.summary()
    )


def test_saved_columns_must_be_those_of_the_parameters(tmp_path: Any) -> None:
    X, y = signal(60)
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, **NAMED).fit(X, y)
    model.columns_.parts[0].name = "other"
    model.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match="columns are not those"):
        unspool.load(tmp_path / "m")


def test_series_ids_and_hidden_layers_have_columns_too() -> None:
    X, y = signal(120)
    random = np.random.RandomState(0)
    for sequences in (
        [random.randn(random.randint(0, 5), 2) for _ in y],
        [random.randint(1, 9, 3).tolist() for _ in y],
    ):
        frame = {**X, "text": sequences}
        model = SequenceRegressor(**{**SMALL, "epochs": 30}, **NAMED, dense=(8,)).fit(frame, y)
        assert r2(y, model.predict(frame)) > 0.8


def test_gradients_reach_the_columns_without_dropout() -> None:
    head = unspool.heads.DenseHead(3, 2, (4,), 0.5, beside=2).train()
    beside = torch.randn(5, 2, requires_grad=True)
    out = head(torch.zeros(5, 3), beside)
    out.sum().backward()
    first, last = head.layers[1], head.layers[-1]
    assert first.in_features == 5
    torch.manual_seed(0)
    kept = head.eval()(torch.zeros(5, 3), beside.detach())
    by_hand = torch.relu(beside @ first.weight[:, 3:].T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(kept, by_hand.detach(), check_dtype=False)
    assert beside.grad is not None and beside.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "settings", "error", "message"),
    [
        (
            {},
            {"text_column": None},
            InvalidParameterError,
            "'text_column'.*'numeric' or 'categorical' name others",
        ),
        ({}, {"numeric": "size"}, InvalidParameterError, "'numeric'.* a tuple of names"),
        ({}, {"numeric": ("sise",)}, DataError, "X has no column 'sise'.*'size'"),
        (
            {},
            {"numeric": ("shop",), "categorical": ()},
            DataError,
            "'shop' must hold finite numbers.*in row 0",
        ),
        ({}, {"categorical": ("size",)}, DataError, "'size' twice"),
        ({"size": [float("inf")] * 60}, {}, DataError, "'size' must hold finite numbers"),
        ({"size": [None] * 60}, {}, DataError, "'size' has no number in the training part"),
        ({"shop": list(range(60))}, {}, DataError, "'shop' has no category of 2 training rows"),
        ({"size": [1.0, 2.0]}, {}, DataError, "'size' must have 60 rows.* Got 2"),
    ],
)
def test_errors(change: dict[str, Any], settings: dict[str, Any], error: Any, message: str) -> None:
    X, y = signal(60)
    with pytest.raises(error, match=message):
        SequenceRegressor(**{**SMALL, "epochs": 1}, **{**NAMED, **settings}).fit({**X, **change}, y)


def test_a_missing_column_at_prediction_is_an_error() -> None:
    X, y = signal(60)
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, **NAMED).fit(X, y)
    with pytest.raises(DataError, match="X has no column 'size'"):
        model.predict({"text": X["text"], "shop": X["shop"]})
    with pytest.raises(
        DataError, match="X must be a DataFrame or a dict with the columns 'text', 'size', 'shop'"
    ):
        model.predict(X["text"])


def test_the_scale_is_of_the_training_part_alone() -> None:
    X, y = signal(60)
    X["size"][-1] = 1e9
    model = SequenceRegressor(**{**SMALL, "epochs": 1}, **NAMED)
    model.fit(
        {k: v[:-1] for k, v in X.items()}, y[:-1], validation_data=({k: v[-1:] for k, v in X.items()}, y[-1:])
    )
    assert model.columns_ is not None
    assert model.columns_.parts[0].mean == pytest.approx(np.mean(X["size"][:-1]))


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "columns.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/columns.md", "exec"), {"__name__": "docs"})
    assert (
        "price (number, missing ones as the mean and told apart), shop (2 categories)"
        in capsys.readouterr().out
    )
