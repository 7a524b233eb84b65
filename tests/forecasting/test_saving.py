"""Saved forecasters: the same forecasts, and one clear error for a file that does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

import unspool
from unspool import Forecaster
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.saved import document

from .conftest import SMALL, ahead, waves


def test_the_same_forecasts(covered: Forecaster, table: pl.DataFrame, tmp_path: Path) -> None:
    covered.save(tmp_path / "model")
    loaded = unspool.load(tmp_path / "model")
    future = ahead(table, 6)
    assert loaded.predict(level=50, future=future).equals(covered.predict(level=50, future=future))
    assert loaded.predict(df=table, future=future).equals(covered.predict(df=table, future=future))
    assert loaded.get_params() == covered.get_params()
    assert loaded.validation_ == covered.validation_ and loaded.history_ == covered.history_
    assert loaded.describe() == covered.describe()
    loaded.save(tmp_path / "again.zip")
    assert unspool.load(tmp_path / "again.zip").predict(future=future).equals(covered.predict(future=future))


def test_forms_of_ids_and_stamps(tmp_path: Path) -> None:
    months = {"id": [7] * 60 + [3] * 60, "m": [f"{2000 + i // 12}-{i % 12 + 1:02d}" for i in range(60)] * 2}
    table = {**months, "v": np.sin(np.arange(120.0))}
    model = Forecaster(**{**SMALL, "epochs": 1}, id_col="id", time_col="m", target_col="v").fit(table)
    model.save(tmp_path / "m.zip")
    found = unspool.load(tmp_path / "m.zip").predict()
    assert list(found) == ["id", "m", "v"] and isinstance(found, dict)
    assert found["m"].tolist()[:2] == ["2005-01", "2005-02"] and found["id"].tolist() == [3] * 6 + [7] * 6
    np.testing.assert_array_equal(found["v"], model.predict()["v"])


def test_going_on_from_newer_rows(fitted: Forecaster, table: pl.DataFrame, tmp_path: Path) -> None:
    more = pl.concat([waves({"a": 140, "b": 90}), waves({"new": 50}, seed=3)])
    fitted.save(tmp_path / "m.zip")
    model = unspool.load(tmp_path / "m.zip").go_on(more)
    expected = fitted.predict(df=more, level=50)
    assert model.predict(level=50).equals(expected)
    model.save(tmp_path / "n.zip")
    assert unspool.load(tmp_path / "n.zip").predict(level=50).equals(expected)


def edited(path: Path, change: object) -> Path:
    """The model with other content, checksums renewed."""
    file = path / "model.json"
    body = json.loads(file.read_text())
    change(body)  # type: ignore[operator]
    del body["checksums"]
    file.write_bytes(document.encode(body, (path / "weights.safetensors").read_bytes()))
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b["parameters"].pop("horizon"), "'horizon' is missing or unknown"),
        (lambda b: b["parameters"].update(horizon=10**9), "settings do not make a network|must be|tensor"),
        (lambda b: b["parameters"].update(hidden_size=9), "tensor .* must be"),
        (lambda b: b["parameters"].update(loss="eval"), "'loss' parameter"),
        (lambda b: b.update(ids=["a", "a", "b"]), "ids of its series"),
        (lambda b: b.update(ids=["a"]), "series"),
        (lambda b: b["preparation"].update(scaler="pickle"), "'scaler' must be one of"),
        (lambda b: b["preparation"]["covariates"].append([0.0, 1.0]), "covariates are not those"),
        (lambda b: b["calendar"].update(size=0), "step of the calendar"),
        (lambda b: b.update(sizes=[6, 0, 12]), "sizes must be positive"),
        (lambda b: b["training"]["history"].append({"epoch": "x"}), "history must hold numbers"),
        (lambda b: b.update(static=[]), "static columns of each series"),
    ],
)
def test_files_that_do_not_hold(fitted: Forecaster, tmp_path: Path, change: object, match: str) -> None:
    fitted.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match=match):
        unspool.load(edited(tmp_path / "model", change))


def test_scikit_learns_contract(table: pl.DataFrame) -> None:
    model = Forecaster(**SMALL)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(horizon=3).horizon == 3
    with pytest.raises(Exception, match="not fitted"):
        model.predict()
    own = Forecaster(**{**SMALL, "epochs": 1}, cell=unspool.cells.GRUCell).fit(table)
    with pytest.raises(
        InvalidParameterError, match="'cell' parameter of Forecaster must be a name to be saved"
    ):
        own.save("nowhere")
