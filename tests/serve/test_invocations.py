"""MLflow's scoring payloads, in the forms that its documentation and clients send."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from tests.serve.conftest import ids, series, texts


def invoke(url: str, model: str, body: object, kind: str = "application/json") -> httpx.Response:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return httpx.post(f"{url}/invocations?model={model}", content=content, headers={"Content-Type": kind})


def predictions(response: httpx.Response) -> list:
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["predictions"]
    return response.json()["predictions"]


TEXTS = texts(3, seed=41)
FORMS = [
    {"dataframe_split": {"columns": ["text"], "data": [[t] for t in TEXTS]}},
    {"dataframe_split": {"index": [0, 1, 2], "columns": ["review"], "data": [[t] for t in TEXTS]}},
    {"dataframe_records": [{"text": t} for t in TEXTS]},
    {"instances": TEXTS},
    {"instances": [{"text": t} for t in TEXTS]},
    {"inputs": TEXTS},
    {"inputs": {"text": TEXTS}},
    {"inputs": TEXTS, "params": {}},
]


@pytest.mark.parametrize("body", FORMS)
def test_forms(url, loaded, body) -> None:
    np.testing.assert_allclose(
        predictions(invoke(url, "score", body)), loaded["score"].predict(TEXTS), rtol=1e-6
    )


def test_csv(url, loaded) -> None:
    table = "text,age,place\n" + "".join(f'"{t}, ""so""",{k},a\r\n' for k, t in enumerate(TEXTS))
    expected = loaded["mixed"].predict(
        {"text": [f'{t}, "so"' for t in TEXTS], "age": [0.0, 1.0, 2.0], "place": ["a"] * 3}
    )
    found = invoke(url, "mixed", table, "text/csv; charset=utf-8")
    np.testing.assert_allclose(predictions(found), expected, rtol=1e-6)


def test_labels_and_series(url, loaded) -> None:
    assert predictions(invoke(url, "mood", {"inputs": TEXTS})) == loaded["mood"].predict(TEXTS).tolist()
    x = [s.astype(float) for s in series(4, seed=42)]
    found = predictions(invoke(url, "wave", {"instances": [s.tolist() for s in x]}))
    np.testing.assert_allclose(found, loaded["wave"].predict(x), rtol=1e-6)
    table = {"columns": ["x"], "data": [[s.tolist()] for s in x]}
    np.testing.assert_allclose(predictions(invoke(url, "wave", {"dataframe_split": table})), found, rtol=1e-6)
    rows = ids(3, seed=43)
    assert predictions(invoke(url, "kind", {"inputs": rows})) == loaded["kind"].predict(rows).tolist()


def test_one_model_needs_no_name(start) -> None:
    url = start("score")
    assert httpx.post(f"{url}/invocations", json={"inputs": ["good"]}).status_code == 200


@pytest.mark.parametrize(
    ("model", "body", "kind", "status", "part"),
    [
        ("score", {}, "application/json", 400, "one of"),
        ("score", {"inputs": [], "instances": []}, "application/json", 400, "one of"),
        ("score", [1], "application/json", 400, "object"),
        ("score", {"inputs": "good"}, "application/json", 400, "a list"),
        ("score", {"inputs": []}, "application/json", 422, "one row at least"),
        ("score", {"inputs": [1]}, "application/json", 422, "strings"),
        ("score", {"inputs": ["a"], "params": {"x": 1}}, "application/json", 422, "'params'"),
        ("score", {"inputs": ["a"], "params": []}, "application/json", 422, "'params'"),
        ("score", {"inputs": ["a"], "params": None}, "application/json", 200, ""),
        ("mixed", "text,age,place\na,1_0,b", "text/csv", 422, "numbers"),
        (
            "score",
            {"dataframe_split": {"columns": ["a"], "data": [["x", "y"]]}},
            "application/json",
            400,
            "1 values",
        ),
        ("score", {"dataframe_split": {"data": [["x"]]}}, "application/json", 400, "'columns'"),
        ("score", {"dataframe_records": [{"a": "x"}, {"b": "x"}]}, "application/json", 400, "same fields"),
        ("score", {"dataframe_records": ["x"]}, "application/json", 400, "same fields"),
        ("mixed", {"inputs": {"text": ["a"], "age": [1]}}, "application/json", 422, "'place'"),
        (
            "mixed",
            {"inputs": {"text": ["a"], "age": [1, 2], "place": ["a"]}},
            "application/json",
            422,
            "each of 1 rows",
        ),
        ("mixed", "text,age,place\na,x,b", "text/csv", 422, "numbers"),
        ("wave", {"inputs": [[[1, 2]]]}, "application/json", 422, "3 numbers"),
        ("wave", {"inputs": [1]}, "application/json", 422, "list of steps"),
        ("kind", {"inputs": [[[1]]]}, "application/json", 200, ""),
        ("score", "a\nb,c", "text/csv", 400, "as many cells"),
        ("score", b"\xff", "text/csv", 400, "UTF-8"),
        ("score", "x", "text/plain", 415, "text/csv"),
        ("none", {"inputs": ["a"]}, "application/json", 404, "no model"),
    ],
)
def test_payloads_that_are_none(url, model, body, kind, status, part) -> None:
    found = invoke(url, model, body, kind)
    assert found.status_code == status, found.text
    assert part in found.json().get("error", "")


def test_several_models_need_a_name(url) -> None:
    found = httpx.post(f"{url}/invocations", json={"inputs": ["a"]})
    assert found.status_code == 422 and "score, mood" in found.json()["error"]
