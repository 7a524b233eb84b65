"""Taggers, texts to texts, texts that go on and forecasters behind the server, with their own `predict`'s answers."""

from __future__ import annotations

import json
import re
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
    for bad in ("x", 0, [80] * 21, {"a": 1}):
        assert infer(url, "ahead", given, level=bad).status_code == 422
    response = httpx.post(
        f"{url}/v2/models/ahead/infer",
        json={
            "inputs": [{"name": n, "datatype": d, "shape": s, "data": v} for n, (d, s, v) in given.items()],
            "outputs": [{"name": "lo-50"}, {"name": "hi-50"}],
            "parameters": {"level": 50},
        },
    )
    low, high = (one["data"] for one in response.json()["outputs"])
    both = made["ahead"].predict(df=newer, level=50)
    np.testing.assert_allclose([low, high], [both["lo-50"], both["hi-50"]], rtol=0)


def invoke(url: str, model: str, body: Any, kind: str = "application/json") -> Any:
    content = body if isinstance(body, str) else json.dumps(body)
    found = httpx.post(
        f"{url}/invocations?model={model}", content=content, headers={"Content-Type": kind}, timeout=30
    )
    return found.json()["predictions"] if found.status_code == 200 else found


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_payloads_of_mlflow(url, made) -> None:
    some = SENTENCES[:3]
    tags, labels = made["tags"].predict(some), made["tags"].predict_labels(some).tolist()
    shares = made["tags"].predict_labels_proba(some)
    found = invoke(url, "tags", {"dataframe_split": {"columns": ["tokens"], "data": [[s] for s in some]}})
    assert [(one["tags"], one["label"]) for one in found] == [*zip(tags, labels)]
    np.testing.assert_allclose([one["label_probabilities"] for one in found], shares, rtol=0)
    assert invoke(url, "steps", {"inputs": some}) == made["steps"].predict(some)
    assert invoke(url, "steps", {"instances": [{"tokens": s} for s in some]}) == made["steps"].predict(some)

    options = {"max_new_tokens": 9, "random_state": 3}
    expected = made["writer"].generate(["so ", "the"], **options)
    assert invoke(url, "writer", {"inputs": ["so ", "the"], "params": options}) == expected
    csv_table = "prompt\nso \nthe\n"
    assert len(invoke(url, "writer", csv_table, "text/csv")) == 2

    newer = {name: values[:-5] for name, values in table().items()}
    ahead = made["ahead"].predict(h=2, df=newer, level=80)
    rows = [dict(zip(newer, row)) for row in zip(*newer.values())]
    split = {"columns": [*newer], "data": [[*row.values()] for row in rows]}
    lines = "\n".join([",".join(newer), *(",".join(map(str, row.values())) for row in rows)])
    params = {"h": 2, "level": [80]}
    for body in ({"dataframe_records": rows}, {"dataframe_split": split}, {"inputs": newer}):
        found = invoke(url, "ahead", {**body, "params": params})
        assert [*found[0]] == ["shop", "day", "sold", "lo-80", "hi-80"]
        for name in found[0]:
            assert [one[name] for one in found] == ahead[name].tolist()
    assert [one["day"] for one in invoke(url, "ahead", lines, "text/csv")][:2] == ahead["day"][:2].tolist()
    counted = {"unique_id": [0] * 9, "ds": [*range(9)], "y": [float(k % 7) for k in range(9)]}
    by_line = "\n".join(["unique_id,ds,y", *(",".join(map(str, row)) for row in zip(*counted.values()))])
    assert invoke(url, "numbered", by_line, "text/csv") == invoke(url, "numbered", {"inputs": counted})

    for model, body, part in (
        ("ahead", {"inputs": [1]}, "takes a table"),
        ("ahead", {"dataframe_records": rows, "params": {"k": 1}}, "h, level"),
        ("ahead", {"dataframe_records": rows, "params": [1]}, "an object"),
        ("tags", {"inputs": ["a b"]}, "a list of tokens"),
        ("tags", {"inputs": [["a", 1]]}, "strings"),
        ("writer", {"inputs": ["a"], "params": {"num_beams": 10**6}}, "may be 64"),
    ):
        refused = invoke(url, model, body)
        assert refused.status_code in (413, 422) and part in refused.json()["error"], refused.text


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_attention(url, made) -> None:
    asked = {"sequence": TEXTS[0]}
    found = httpx.post(f"{url}/v2/models/pairs/activity", json=asked).json()
    tokens, written, weights = made["pairs"].align(TEXTS[0])
    assert found["tokens"] == tokens and found["written"] == [*written, "end"]
    np.testing.assert_allclose(found["attention"], weights, atol=6e-5)
    for bad, status in (
        ({**asked, "layer": 1}, 422),
        ({"sequence": ""}, 422),
        ({"sequence": "a" * 501}, 413),
    ):
        assert httpx.post(f"{url}/v2/models/pairs/activity", json=bad).status_code == status


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pages(url, made, browser) -> None:
    """What is drawn of each kind, and its own example."""

    def asked(model: str, text: str, last: int = 1) -> str:
        browser.open(f"{url}/?model={model}")
        browser.run(
            f"at('given').value = {json.dumps(text)}; document.body.dataset.state = ''; at('go').click()"
        )
        browser.until("document.body.dataset.state === 'done'")
        return browser.html()

    sentence = ["good", "day", "<b>", "so"]
    page = asked("tags", " ".join(sentence))
    assert re.findall(r'data-tag="([^"]*)"', page) == made["tags"].predict([sentence])[0]
    assert made["tags"].predict_labels([sentence])[0] == re.search(r'class="big">(.*?)<', page)[1]
    page = asked("pairs", TEXTS[0])
    tokens, written, _ = made["pairs"].align(TEXTS[0])
    assert f'data-attention="{len(written) + 1} x {len(tokens)}"' in page
    newer = table()
    lines = "\n".join([",".join(newer), *(",".join(map(str, row)) for row in zip(*newer.values()))])
    page = asked("ahead", lines)
    assert re.findall(r'data-chart="([^"]*)"', page) == ["shop a", "shop b"]
    level = made["ahead"].predict(df=newer, level=80)
    assert re.findall(r'data-band="([^"]*)"', page) == ["80 %"] * 2
    path, band = (
        browser.run(f"document.querySelector('[{which}]').getAttribute('{what}')")
        for which, what in (("data-line=forecast", "d"), ("data-band", "points"))
    )
    assert len(path.split("L")) == 1 + 3 and len(band.split(",")) == 2 * 3
    heights = [float(point.split()[1]) for point in band.split(",")]
    ranked = np.argsort([*level["hi-80"][:3]][::-1])  # higher values lie higher, from the end on
    np.testing.assert_array_equal(np.argsort(heights[3:])[::-1], ranked)
    browser.open(f"{url}/?model=writer")
    browser.run(
        "field('options', 'random_state').value = 3; field('options', 'max_new_tokens').value = 12; var pieces = [];"
        "new MutationObserver((all) => all.forEach((one) => one.target.tagName === 'B' && pieces.push("
        "one.addedNodes[0].textContent))).observe(at('answer'), {childList: true, subtree: true});"
        "at('given').value = 'so '; document.body.dataset.state = ''; at('go').click()"
    )
    browser.until("document.body.dataset.state === 'done'")
    assert "".join(browser.run("pieces")) == made["writer"].generate("so ", 12, random_state=3)
    assert len(browser.run("pieces")) > 3  # one after the other
    for name in made:
        browser.try_example(f"{url}/?model={name}")


def test_pages_and_what_is_not_there(url, made) -> None:
    page = httpx.get(f"{url}/docs", timeout=60)
    assert page.status_code == 200 and all(f"/v2/models/{name}/infer" in page.text for name in made)
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert "/v2/models/tags/infer" in paths and "/v2/models/tags/activity" not in paths
    drawn = httpx.post(f"{url}/v2/models/writer/activity", json={"sequence": "a"})
    assert drawn.status_code == 422 and "numbers and classes" in drawn.json()["error"]
    known = unspool.Forecaster(future=("promo",), horizon=3, **SMALL)
    known.tail_ = None
    with pytest.raises(DataError, match="known ahead"):
        served_of("promo", known, None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="Seq2Seq, SequenceGenerator, Forecaster and imp"):
        served_of("other", object(), None)  # type: ignore[arg-type]
