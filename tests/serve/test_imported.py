"""Models of other libraries behind the server, with their own `predict`'s answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.importing.conftest import read_here
from tests.importing.reference import Reference, several, write_h5
from tests.serve.conftest import running
from typer.testing import CliRunner

from unspool.cli.app import app
from unspool.errors import DataError
from unspool.importing import from_keras, hdf5
from unspool.serve import Service
from unspool.serve.kinds import served_of
from unspool.serve.limits import Limits
from unspool.text import Tokenizer

NAMES = ("pair", "merges", "category")
TEXTS = ["one two", "two three", "three four five"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("files")
    tokenizer = Tokenizer(num_words=11)
    tokenizer.fit_on_texts(TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "read", read_here)
        found = {name: from_keras(write_h5(several()[name], folder / f"{name}.h5")) for name in NAMES}
        found["texts"] = from_keras(folder / "pair.h5", tokenizer=tokenizer)
    return found


@pytest.fixture(scope="module")
def url(made, tmp_path_factory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("models")
    for name, model in made.items():
        model.save(folder / name)
    with running(Service({name: folder / name for name in made})) as address:
        yield address


def infer(url: str, model: str, *inputs: Any) -> dict[str, np.ndarray]:
    entries = [dict(zip(("name", "datatype", "shape", "data"), one)) for one in inputs]
    response = httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": entries}, timeout=30)
    if response.status_code != 200:
        raise AssertionError(f"{response.status_code} {response.json()['error']}")
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in response.json()["outputs"]}


def flat(rows: Any) -> list[Any]:
    return [value for row in rows for value in np.asarray(row).ravel().tolist()]


def test_ids_and_rows(url, made) -> None:
    X: Any = several()["pair"].X
    given = []
    for name in ("title", "body"):
        given.append((name, "INT64", [sum(map(len, X[name]))], flat(X[name])))
        given.append((f"{name}_lengths", "INT64", [4], [len(x) for x in X[name]]))
    found = infer(url, "pair", *given, ("numbers", "FP32", [4, 3], flat(X["numbers"])))
    assert list(found) == ["label"]
    np.testing.assert_allclose(found["label"], made["pair"].predict(X), rtol=0, atol=1e-9)
    with pytest.raises(
        AssertionError, match=r"422 All inputs must have as many rows. Got \{'title': 4, 'body': 4"
    ):
        infer(url, "pair", *given, ("numbers", "FP32", [2, 3], [1.0] * 6))
    with pytest.raises(AssertionError, match=r"422 Input 'numbers' must have shape \[n, 3\]. Got \[6, 2\]"):
        infer(url, "pair", *given, ("numbers", "FP32", [6, 2], [1.0] * 12))
    with pytest.raises(AssertionError, match=r"422 Input 'body_lengths' must have shape"):
        wrong = [*given[:3], ("body_lengths", "INT64", [1, 4], [1] * 4)]
        infer(url, "pair", *wrong, ("numbers", "FP32", [4, 3], flat(X["numbers"])))
    with pytest.raises(AssertionError, match=r"422 .*Ids must be in \[0, 11\)"):
        numbers = ("numbers", "FP32", [1, 3], [1.0] * 3)
        infer(url, "pair", ("title", "INT64", [1], [99]), ("body", "INT64", [1], [1]), numbers)


def test_texts_series_and_several_outputs(url, made) -> None:
    rows = [[1.0, 2.0, 3.0]] * 3
    given = ("title", "BYTES", [3], TEXTS), ("body", "BYTES", [3], TEXTS[::-1])
    found = infer(url, "texts", *given, ("numbers", "FP32", [3, 3], flat(rows)))
    expected = made["texts"].predict({"title": TEXTS, "body": TEXTS[::-1], "numbers": rows})
    np.testing.assert_allclose(found["label"], expected, rtol=0, atol=1e-9)
    X: Any = several()["merges"].X
    series = ("series", "FP32", [sum(map(len, X["series"])), 3], flat(X["series"]))
    lengths = ("series_lengths", "INT64", [4], [len(x) for x in X["series"]])
    found = infer(url, "merges", series, lengths, ("row", "FP32", [4, 3], flat(X["row"])))
    expected = made["merges"].predict(X)
    assert list(found) == ["dots", "steps", "steps_lengths"]
    np.testing.assert_allclose(found["dots"], expected["dots"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["steps"], np.concatenate(expected["steps"]), rtol=0, atol=1e-9)
    assert found["steps_lengths"].tolist() == [len(x) for x in X["series"]]
    X = several()["category"].X
    text = ("text", "INT64", [sum(map(len, X["text"]))], flat(X["text"]))
    lengths = ("text_lengths", "INT64", [4], [len(x) for x in X["text"]])
    found = infer(url, "category", text, lengths, ("kind", "INT64", [4], flat(X["kind"])))
    np.testing.assert_allclose(found["score"], made["category"].predict(X)["score"], rtol=0, atol=1e-9)


def test_invocations(url, made) -> None:
    """A row of a table: a text, ids, steps, or a list of numbers in each cell."""
    X: Any = several()["merges"].X
    rows = [[x.tolist(), row.tolist()] for x, row in zip(X["series"], X["row"])]
    body = {"dataframe_split": {"columns": ["series", "row"], "data": rows}}
    answer = httpx.post(f"{url}/invocations?model=merges", json=body, timeout=30).json()["predictions"]
    expected = made["merges"].predict(X)
    for k, one in enumerate(answer):
        np.testing.assert_allclose(one["dots"], expected["dots"][k], rtol=0, atol=1e-6)
        np.testing.assert_allclose(one["steps"], expected["steps"][k], rtol=0, atol=1e-6)
    body = {"inputs": {"series": [[[1e39, -1e39, 0.0]]], "row": [[1e39, 0.0, 0.0]]}}  # no numbers of float32
    answer = httpx.post(f"{url}/invocations?model=merges", json=body, timeout=30).json()["predictions"]
    assert answer[0]["steps"] == [[None] * 3] and None in answer[0]["dots"]
    records = [{"title": a, "body": b, "numbers": [1, 2, 3]} for a, b in zip(TEXTS, TEXTS[::-1])]
    asked = {"dataframe_records": records}
    answer = httpx.post(f"{url}/invocations?model=texts", json=asked, timeout=30).json()["predictions"]
    expected = made["texts"].predict([TEXTS, TEXTS[::-1], [[1, 2, 3]] * 3])
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)
    asked = {"dataframe_records": [{**records[0], "numbers": [1, 2]}]}
    refused = httpx.post(f"{url}/invocations?model=texts", json=asked, timeout=30)
    assert refused.status_code == 422 and "needs 3 values. Got 2" in refused.json()["error"]


@pytest.mark.parametrize("name", [*NAMES, "texts"])
def test_its_own_examples_are_answered(url, name) -> None:
    described = httpx.get(f"{url}/openapi.json").json()["paths"][f"/v2/models/{name}/infer"]["post"]
    example = described["requestBody"]["content"]["application/json"]["example"]
    assert httpx.post(f"{url}/v2/models/{name}/infer", json=example, timeout=30).status_code == 200
    about = httpx.get(f"{url}/v2/models/{name}").json()
    assert about["parameters"]["kind"] == "inputs" and "reads" in about["parameters"]["description"]
    assert f"<h2>{name}</h2>" in httpx.get(f"{url}/docs").text


def test_the_page(url, browser) -> None:
    browser.try_example(f"{url}/?model=merges")
    told = browser.run("document.querySelector('#answer').textContent")
    assert re.search(r"dots \[2, 2\]: .*steps \[4, 3\]: .*steps_lengths \[2\]: 2, 2", told)


def test_one_that_carries_its_state_is_refused(tmp_path) -> None:
    reference = several()["translation"]
    config = json.loads(json.dumps(reference.config))
    for layer in config["config"]["layers"]:
        layer["config"].update({"stateful": True} if layer["class_name"] == "LSTM" else {})
    model = from_keras(write_h5(Reference(config, reference.weights), tmp_path / "m.h5"))
    with pytest.raises(DataError, match="'m' carries its state from one call to the next"):
        served_of("m", model, Limits())
    model.save(tmp_path / "m")
    result = CliRunner().invoke(app, ["serve", str(tmp_path / "m")])
    assert result.exit_code == 2 and "carries its state" in result.stderr
