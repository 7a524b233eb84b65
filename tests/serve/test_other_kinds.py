"""Taggers, texts to texts, texts that go on and forecasters behind the server, with their own `predict`'s answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from tests.serve.conftest import running, texts
from tests.serve.test_sockets import opened, say

import unspool
from unspool.errors import DataError
from unspool.serve import Service
from unspool.serve.kinds import served_of

SMALL: dict[str, Any] = {"hidden_size": 6, "epochs": 1, "random_state": 0, "verbose": 0}
TEXTS = texts(40, seed=5)
SENTENCES = [text.split() for text in TEXTS]
TAGS = [["B-x" if word == "good" else "O" for word in sentence] for sentence in SENTENCES]


def table(series: int = 2, steps: int = 40) -> dict[str, list[Any]]:
    days = [f"2024-{1 + k // 28:02d}-{1 + k % 28:02d}" for k in range(28)]
    days += [f"2024-01-{k}" for k in (29, 30, 31)] + [f"2024-02-{k:02d}" for k in range(1, 10)]
    return {
        "shop": [name for name in "ab"[:series] for _ in range(steps)],
        "day": days[:steps] * series,
        "sold": [float(k % 7) for k in range(steps * series)],
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Any]:
    """Fitted models by name."""
    tagging = {**SMALL, "embedding_dim": 5, "characters": None}
    days = {"id_col": "shop", "time_col": "day", "target_col": "sold"}
    return {
        "tags": unspool.SequenceTagger(**tagging).fit(SENTENCES, TAGS, labels=["u", "v"] * 20),
        "steps": unspool.SequenceTagger(**tagging, crf=False, bidirectional=False).fit(SENTENCES, TAGS),
        "pairs": unspool.Seq2Seq(embedding_dim=5, **SMALL).fit(TEXTS, [t[::-1] for t in TEXTS]),
        "writer": unspool.SequenceGenerator(embedding_dim=5, **SMALL).fit(TEXTS),
        "ahead": unspool.Forecaster(horizon=3, **days, **SMALL).fit(pl.DataFrame(table())),
        "numbered": unspool.Forecaster(horizon=3, **SMALL).fit([np.arange(30) % 7.0, np.arange(25) % 5.0]),
    }


@pytest.fixture(scope="module")
def url(made, tmp_path_factory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("others")
    for name, model in made.items():
        model.save(folder / name)
    with running(Service({name: folder / name for name in made})) as address:
        yield address


def infer(
    url: str, model: str, inputs: dict[str, tuple[str, list[int], list[Any]]], **parameters: Any
) -> Any:
    entries = [{"name": n, "datatype": d, "shape": s, "data": v} for n, (d, s, v) in inputs.items()]
    response = httpx.post(
        f"{url}/v2/models/{model}/infer", json={"inputs": entries, "parameters": parameters}, timeout=30
    )
    if response.status_code != 200:
        return response
    told = httpx.get(f"{url}/v2/models/{model}").json()["outputs"]
    outputs = response.json()["outputs"]
    assert [(o["name"], o["datatype"], len(o["shape"])) for o in outputs] == [
        (o["name"], o["datatype"], len(o["shape"])) for o in told
    ]
    return {one["name"]: one["data"] for one in outputs}


def test_tags_and_labels(url, made) -> None:
    some, model = SENTENCES[:5], made["tags"]
    flat = [token for sentence in some for token in sentence]
    given = {"tokens": ("BYTES", [len(flat)], flat), "lengths": ("INT64", [5], [*map(len, some)])}
    found = infer(url, "tags", given)
    assert found["tags"] == [tag for row in model.predict(some) for tag in row]
    assert found["lengths"] == [*map(len, some)] and found["label"] == model.predict_labels(some).tolist()
    np.testing.assert_allclose(
        np.reshape(found["label_probabilities"], (5, 2)), model.predict_labels_proba(some), rtol=0
    )
    padded = [sentence + ["?"] * (8 - len(sentence)) for sentence in some]
    again = infer(url, "tags", {**given, "tokens": ("BYTES", [5, 8], padded)})
    assert again == found
    wrong = infer(url, "tags", {"tokens": ("INT64", [2], [1, 2])})
    assert wrong.status_code == 422 and "BYTES" in wrong.json()["error"]


def test_a_stream_of_tags(url, made) -> None:
    sentence = ["good", "day", "so", "good", "fine"]
    expected = made["steps"].predict([sentence])[0]
    client, hello = opened(url, "steps")
    with client:
        assert say(client, {"tokens": sentence[:2]})["outputs"] == {"tags": expected[:2]}
        assert say(client, {"tokens": "good"})["status"] == 422
        assert say(client, {"tokens": []})["outputs"] == {"tags": []}
    client, again = opened(url, "steps", f"?resume={hello['stream']}&seen=3")
    with client:
        assert again["received"] == 3
        assert say(client, {"tokens": sentence[2:], "end": True})["outputs"] == {"tags": expected[2:]}
    parts = [
        infer(url, "steps", {"tokens": ("BYTES", [1], [token])}, sequence_id=3, sequence_start=k == 0)
        for k, token in enumerate(sentence)
    ]
    assert [tag for part in parts for tag in part["tags"]] == expected
    refused = infer(url, "tags", {"tokens": ("BYTES", [1], ["a"])}, sequence_id=3, sequence_start=True)
    assert refused.status_code == 422 and "CRF" in refused.json()["error"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_texts_to_texts(url, made) -> None:
    expected = made["pairs"].columns(TEXTS[:4])
    found = infer(url, "pairs", {"text": ("BYTES", [4], TEXTS[:4])})
    assert found["prediction"] == expected["prediction"].tolist()
    np.testing.assert_allclose(found["log_probability"], expected["log_probability_prediction"], rtol=0)
    told = httpx.post(f"{url}/invocations?model=pairs", json={"inputs": TEXTS[:2]}).json()
    assert told == {"predictions": expected["prediction"][:2].tolist()}


def test_texts_that_go_on(url, made) -> None:
    model, options = made["writer"], {"max_new_tokens": 12, "temperature": 0.7, "random_state": 3}
    found = infer(url, "writer", {"prompt": ("BYTES", [2], ["so ", "the"])}, **options)
    assert found["text"] == model.generate(["so ", "the"], **options)
    refused = infer(url, "writer", {"prompt": ("BYTES", [1], ["a"])}, max_new_tokens=10**6)
    assert refused.status_code == 413
    for bad in ({"temperature": -1}, {"colour": 1}, {"top_k": "x"}):
        assert infer(url, "writer", {"prompt": ("BYTES", [1], ["a"])}, **bad).status_code == 422
    client, hello = opened(url, "writer")
    with client:
        assert hello == {"model_version": "1"}
        for step in (1, 2):
            client.send(json.dumps({"prompt": "so ", **options}))
            pieces = []
            while "piece" in (message := json.loads(client.recv(10))):
                assert message["step"] == step
                pieces.append(message["piece"])
            expected = model.generate("so ", **options)
            assert message == {"step": step, "outputs": {"text": expected}} and "".join(pieces) == expected
            assert len(pieces) > 3
        for bad in ({"x": 1}, {"prompt": 3}, {"prompt": "a", "num_beams": 2}, {"prompt": "a", "top_p": 7}):
            assert say(client, bad)["status"] == 422
        assert say(client, {"prompt": "a", "max_new_tokens": 10**6})["status"] == 413


def test_forecasts(url, made) -> None:
    newer = {name: values[: -5 if name else None] for name, values in table().items()}
    columns = {"shop": "BYTES", "day": "BYTES", "sold": "FP64"}
    rows = len(newer["sold"])
    given = {name: (kind, [rows], newer[name]) for name, kind in columns.items()}
    found = infer(url, "ahead", given, h=2)
    expected = made["ahead"].predict(h=2, df=newer)
    assert found["shop"] == list(expected["shop"]) and found["day"] == list(expected["day"])
    np.testing.assert_allclose(found["sold"], expected["sold"], rtol=0)
    late = np.arange(24) % 7.0
    one = infer(
        url,
        "numbered",
        {
            "unique_id": ("INT64", [24], [0] * 24),
            "ds": ("INT64", [24], [*range(24)]),
            "y": ("FP64", [24], [None, *late[1:].tolist()]),
        },
    )
    want = made["numbered"].predict(df=[np.array([np.nan, *late[1:]])])
    assert one["ds"] == [24, 25, 26] == want["ds"].to_list()
    np.testing.assert_allclose(one["y"], want["y"].to_numpy(), rtol=0)
    short = infer(url, "ahead", {**given, "sold": ("FP64", [3], [1.0, 2.0, 3.0])})
    assert short.status_code == 422 and "N rows" in short.json()["error"]
    assert infer(url, "ahead", given, h=0).status_code == 422


def test_pages_and_what_is_not_there(url, made) -> None:
    page = httpx.get(f"{url}/docs", timeout=60)
    assert page.status_code == 200 and all(f"/v2/models/{name}/infer" in page.text for name in made)
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert "/v2/models/tags/infer" in paths and "/v2/models/tags/activity" not in paths
    drawn = httpx.post(f"{url}/v2/models/pairs/activity", json={"sequence": "a"})
    assert drawn.status_code == 422 and "numbers and classes" in drawn.json()["error"]
    rows = httpx.post(f"{url}/invocations?model=ahead", json={"inputs": [1]})
    assert rows.status_code == 422 and "/v2/models/ahead/infer" in rows.json()["error"]
    known = unspool.Forecaster(future=("promo",), horizon=3, **SMALL)
    known.tail_ = None
    with pytest.raises(DataError, match="known ahead"):
        served_of("promo", known, None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="Seq2Seq, SequenceGenerator and Forecaster"):
        served_of("other", object(), None)  # type: ignore[arg-type]
