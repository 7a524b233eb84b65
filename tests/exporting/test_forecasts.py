"""`Forecaster` as one graph: the past of series in, what `predict` answers out, on series that export did not try."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from unspool import Forecaster
from unspool.errors import DataError
from unspool.exporting import to_onnx
from unspool.exporting.checking import session
from unspool.exporting.graph import DOUBLE, INT64, Graph
from unspool.exporting.stamps import time_features
from unspool.forecasting.calendar import FEATURES, Calendar

from .runtime import run

QUICK: dict[str, Any] = {"horizon": 5, "input_size": 12, "season": 4, "segment_length": 2, "hidden_size": 5}
QUICK |= {"epochs": 1, "verbose": 0, "random_state": 0}
COVARIATES: dict[str, Any] = {"past": ("p",), "future": ("f",), "static": ("kind", "size")}
COVARIATES |= {"time_features": ("hour", "month")}
NAN = float("nan")


def table(steps: dict[str, int], seed: int = 0) -> pl.DataFrame:
    """Series of counts of these lengths by the hour, some values missing, with covariates."""
    random, parts = np.random.RandomState(seed), []
    for i, (name, n) in enumerate(steps.items()):
        y = np.round(20 * (i + 1) + 9 * np.sin(np.arange(n)) + random.randn(n))
        y[:-1][random.rand(n - 1) < 0.1] = NAN
        first = datetime(2023, 12, 30)
        columns: dict[str, Any] = {
            "unique_id": [name] * n,
            "ds": [first + timedelta(hours=h) for h in range(n)],
        }
        columns |= {"y": y, "p": random.randn(n) * 50, "f": random.randn(n) + 7}
        parts.append(pl.DataFrame({**columns, "kind": ["ab"[i % 2]] * n, "size": [float(i)] * n}))
    return pl.concat(parts).with_columns(pl.col("y").fill_nan(None))


FITTED = table({"a": 60, "b": 60, "c": 44})
NEW = {"c": 30, "a": 12, "new": 3, "b": 7}
KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "segments": ({"model": "segments", **COVARIATES}, (80, 50)),
    "recurrent": ({"model": "recurrent", "normalization": "window", "scaler": "mean", **COVARIATES}, 80),
    "seq2seq": ({"model": "seq2seq", "normalization": "season", "scaler": "global", **COVARIATES}, 80),
    "counts": ({"model": "recurrent", "loss": "negative_binomial", "cell": "slstm", "num_layers": 2}, 60),
    "quantiles": ({"loss": "quantile", "intervals": "model", "normalization": "season"}, None),
    "normal": ({"loss": "normal", "intervals": "model", "normalization": "none"}, 95),
    "each its own": ({"calibration": "series", "validation_size": 12, "scaler": "none", "horizon": 1}, 50),
}


def padded(part: list[np.ndarray]) -> np.ndarray:
    """Rows one beside the other; what stands past their end does not matter."""
    found = np.full((len(part), max(map(len, part)) + 1, *part[0].shape[1:]), 7, part[0].dtype)
    for row, values in zip(found, part):
        row[: len(values)] = values
    return found


def inputs_of(rows: pl.DataFrame, ahead: pl.DataFrame, names: Any) -> dict[str, np.ndarray]:
    """The graph's inputs of a table, those of `names`, made as the page says."""
    groups = [group for _, group in rows.group_by("unique_id", maintain_order=True)]
    coming = [group for _, group in ahead.group_by("unique_id", maintain_order=True)]

    def stamps(parts: list[pl.DataFrame]) -> list[np.ndarray]:
        return [part["ds"].dt.timestamp("us").to_numpy() for part in parts]

    def known(part: pl.DataFrame) -> np.ndarray:
        return part.select("f").to_numpy()

    found = {
        "y": padded([group["y"].fill_null(NAN).to_numpy().copy() for group in groups]),
        "lengths": np.array([len(group) for group in groups]),
        "series": np.array([group["unique_id"][0] for group in groups], object),
        "past": padded([group.select("p").to_numpy() for group in groups]),
        "future": padded([known(group) for group in groups]),
        "future_ahead": np.stack([known(part) for part in coming]),
        "stamps": padded(stamps(groups)),
        "stamps_ahead": np.stack(stamps(coming)),
        "numeric": np.array([[group["size"][0]] for group in groups]),
        "categories": np.array([["ab".index(group["kind"][0])] for group in groups]),
    }
    return {name: found[name] for name in names}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_its_answers_are_those_of_predict(kind: str, tmp_path: Path) -> None:
    options, level = KINDS[kind]
    model = Forecaster(**{**QUICK, **options}).fit(FITTED)
    exported = to_onnx(model, tmp_path / "m.onnx", level=level)
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    assert exported.difference < 1e-5
    counts = {name: n for name, n in NEW.items() if name != "new" or model.calibration == "pooled"}
    rows, longer = (
        table(counts, seed=1),
        table({name: n + model.horizon for name, n in counts.items()}, seed=2),
    )
    ahead = pl.concat(
        [group.tail(model.horizon) for _, group in longer.group_by("unique_id", maintain_order=True)]
    )
    given = {"future": ahead.drop("y")} if model.future else {}
    learnt = {"quantiles": model.quantiles} if level is None else {"level": level}
    expected = model.predict(df=rows, **given, **learnt)
    found = run(tmp_path / "m.onnx", **inputs_of(rows, ahead, exported.inputs))
    assert list(found) == ["forecast", *[c for c in expected.columns if c not in ("unique_id", "ds", "y")]]
    for name, values in found.items():
        own = [
            expected.filter(pl.col("unique_id") == series)["y" if name == "forecast" else name]
            for series in counts
        ]
        np.testing.assert_allclose(values, np.stack([*map(np.array, own)]), rtol=2e-6, err_msg=name)
    assert len(np.unique(found["forecast"])) >= len(counts)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_that_predict_refuses_are_not_numbers(tmp_path: Path) -> None:
    model = Forecaster(**QUICK, future=("f",)).fit(FITTED)
    exported = to_onnx(model, tmp_path / "m.onnx", level=80)
    y = np.ones((5, 14))
    y[1, 1:], y[2, 3:] = NAN, NAN  # nothing within twelve steps; some within them
    future, ahead = np.zeros((5, 14, 1)), np.zeros((5, 5, 1))
    ahead[4, 2] = NAN
    feeds = {"y": y, "lengths": np.array([1, 14, 14, 99, 14]), "series": np.array(["a"] * 5, object)}
    found = run(tmp_path / "m.onnx", **feeds, future=future, future_ahead=ahead)
    for values in found.values():
        assert np.isnan(values).all(1).tolist() == [True, True, False, False, True]
        assert np.isfinite(values[[2, 3]]).all()
    assert "NaN for a row that predict refuses" in exported.notes[0]
    told = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(told["unspool.levels"]) == {"lo-80": 0.1, "hi-80": 0.9}
    assert json.loads(told["unspool.input_size"]) == 12


def test_time_features_of_any_day() -> None:
    """1890 to 2110: leap years, centuries, days before 1970."""
    days = np.arange(-29_220, 51_134) * 86_400_000_000
    stamps = days + np.random.RandomState(0).randint(0, 86_400_000_000, len(days))
    g = Graph()
    made = time_features(g, FEATURES, g.input("stamps", INT64, ["batch", "time"]))
    g.output("found", made, DOUBLE, ["batch", "time", 2 * len(FEATURES)])
    content = g.ir.to_proto(g.ir.Model(g.finished("features"), ir_version=9)).SerializeToString()
    (found,) = session(content).run(None, {"stamps": stamps[None]})
    expected = Calendar("us", 1).features(FEATURES, stamps)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_no_graph_says_so(tmp_path: Path) -> None:
    y = np.random.RandomState(0).randn(3, 60)
    model = Forecaster(**QUICK, loss="student_t", intervals="model").fit(y)
    with pytest.raises(DataError, match=r"quantiles of loss='student_t'.*fit with intervals='conformal'"):
        to_onnx(model, tmp_path / "m.onnx", level=80)
    assert list(to_onnx(model, tmp_path / "m.onnx").outputs) == ["forecast"]
    model = Forecaster(**QUICK, validation_size=0).fit(y)
    with pytest.raises(DataError, match="fit held none back"):
        to_onnx(model, tmp_path / "m.onnx", level=80)
