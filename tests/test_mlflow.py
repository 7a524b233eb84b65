"""Models in MLflow: logged, loaded and asked in a temporary folder; no pickle, and the numbers of the estimator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import unspool
from unspool.errors import DataError

pytest.importorskip("mlflow")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

SMALL: dict[str, Any] = {"hidden_size": 6, "embedding_dim": 6, "epochs": 1, "random_state": 0, "verbose": 0}
TEXTS = ["a good day", "an awful day", "good, good", "what an awful film"] * 6
PAGE = Path(__file__).resolve().parents[1] / "docs" / "mlflow.md"


@pytest.fixture
def flow(tmp_path, monkeypatch) -> Any:
    """MLflow with a store in a folder of the test."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    yield mlflow
    mlflow.set_tracking_uri(before)


def logged(flow: Any, model: Any, **options: Any) -> tuple[Any, Any]:
    """(what MLflow tells of it, the model as MLflow loads it)."""
    import unspool.mlflow

    with flow.start_run():
        info = unspool.mlflow.log_model(model, name="model", **options)
    return info, flow.pyfunc.load_model(info.model_uri)


def columns(schema: Any) -> dict[str, str]:
    return {column.name: str(column.type).removeprefix("DataType.") for column in schema}


def test_a_classifier_of_texts_with_columns(flow, tmp_path) -> None:
    import unspool.mlflow

    table = {
        "words": TEXTS,
        "age": [float(k % 5) for k in range(24)],
        "place": ["ab"[k % 2] for k in range(24)],
    }
    model = unspool.SequenceClassifier(
        text_column="words", numeric=("age",), categorical=("place",), blend=False, **SMALL
    ).fit(table, ["up", "down", "up", "down"] * 6)
    info, served = logged(flow, model)
    assert columns(info.signature.inputs) == {"words": "string", "age": "double", "place": "string"}
    assert columns(info.signature.outputs)["prediction"] == "string"
    assert list(served.input_example.columns) == ["words", "age", "place"]
    few = {name: values[:5] for name, values in table.items()}
    expected = pd.DataFrame(model.columns(few))
    arrow = pa.table(few)
    for given in (pd.DataFrame(few), arrow.to_pandas(), arrow.to_pandas(types_mapper=pd.ArrowDtype)):
        pd.testing.assert_frame_equal(served.predict(given), expected)
    inner = served.unwrap_python_model()
    for given in (arrow, pl.DataFrame(few), few):  # MLflow's own checks take pandas alone
        pd.testing.assert_frame_equal(inner.predict(None, given), expected)
    (code,) = (tmp_path / "store").rglob("code.py")
    code.write_text("raise SystemExit('run')")
    again = unspool.mlflow.load_model(info.model_uri)  # runs no code
    assert again.predict(few).tolist() == model.predict(few).tolist()
    files = [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert "code.py" in files and "weights.safetensors" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]
    with pytest.raises(DataError, match=r"has no column 'age'\. It has 'words', 'place'"):
        inner.predict(None, pl.DataFrame(few).drop("age"))


def test_series_ids_tags_and_texts(flow) -> None:
    rng = np.random.default_rng(0)
    waves = [rng.normal(size=(3 + k % 4, 2)) for k in range(20)]
    wave = unspool.SequenceRegressor(**SMALL).fit(waves, rng.normal(size=(20, 2)))
    info, served = logged(flow, wave)
    assert columns(info.signature.inputs) == {"series": "Array(Array(double))"}
    given = pd.DataFrame({"series": [w.tolist() for w in waves[:3]]})
    np.testing.assert_array_equal(served.predict(given).to_numpy(), wave.predict(waves[:3]))

    rows = [[1, 2, 3 + k % 3][: 1 + k % 3] for k in range(20)]
    coded = unspool.SequenceRegressor(**SMALL).fit(rows, rng.normal(size=20))
    _, served = logged(flow, coded)
    found = served.predict(pd.DataFrame({"ids": rows[:4]}))["prediction"]
    np.testing.assert_array_equal(found, coded.predict(rows[:4]))

    sentences = [text.split() for text in TEXTS]
    tagger = unspool.SequenceTagger(**SMALL).fit(
        sentences, [["B-x"] + ["O"] * (len(s) - 1) for s in sentences], labels=["p", "q"] * 12
    )
    _, served = logged(flow, tagger)
    found = served.predict(pd.DataFrame({"tokens": sentences[:3]}))
    assert [list(row) for row in found["tags"]] == tagger.predict(sentences[:3])
    assert found["label"].tolist() == tagger.predict_labels(sentences[:3]).tolist()


def test_writing_and_translating(flow) -> None:
    writer = unspool.SequenceGenerator(**SMALL).fit(TEXTS)
    info, served = logged(flow, writer)
    assert {p.name for p in info.signature.params} >= {"max_new_tokens", "temperature", "random_state"}
    found = served.predict(pd.DataFrame({"prompt": ["a ", "an"]}), params={"max_new_tokens": 7})
    assert found["text"].tolist() == writer.generate(["a ", "an"], max_new_tokens=7, random_state=0)

    pairs = unspool.Seq2Seq(**SMALL).fit(TEXTS, [text[::-1] for text in TEXTS])
    _, served = logged(flow, pairs, input_example=pd.DataFrame({"text": ["a day"]}))
    assert served.predict(pd.DataFrame({"text": TEXTS[:2]}))["prediction"].tolist() == list(
        pairs.predict(TEXTS[:2])
    )


def test_a_forecaster(flow) -> None:
    days = pd.date_range("2024-01-01", periods=40)
    table = pd.DataFrame(
        {"unique_id": ["a"] * 40 + ["b"] * 40, "ds": [*days, *days], "y": np.arange(80) % 7 + 0.5}
    )
    model = unspool.Forecaster(horizon=3, hidden_size=6, epochs=1, random_state=0, verbose=0).fit(table)
    info, served = logged(flow, model)
    assert columns(info.signature.inputs) == {"unique_id": "string", "ds": "datetime", "y": "double"}
    expected = model.predict(h=2, df=table)
    pd.testing.assert_frame_equal(served.predict(table, params={"h": 2}), expected)
    ahead = unspool.Forecaster(
        horizon=3, future=("promo",), hidden_size=6, epochs=1, random_state=0, verbose=0
    ).fit(table.assign(promo=1.0))
    with pytest.raises(DataError, match="known ahead"):
        logged(flow, ahead)


def test_what_is_ours_to_say(flow, tmp_path) -> None:
    import unspool.mlflow

    with pytest.raises(DataError, match=r"takes fitted estimators .* Got a Linear"):
        unspool.mlflow.save_model(__import__("torch").nn.Linear(2, 2), tmp_path / "m")
    model = unspool.SequenceRegressor(blend=False, **SMALL).fit(TEXTS, range(24))
    with pytest.raises(DataError, match="says 'signature' itself"):
        unspool.mlflow.save_model(model, tmp_path / "m", signature=None)


def test_its_page(flow, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(code, "mlflow.md", "exec"), {"__name__": "mlflow_page"})
    assert capsys.readouterr().out.split() == ["prediction", "True"]
