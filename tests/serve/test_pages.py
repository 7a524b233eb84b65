"""The pages in a browser, and what they say."""

from __future__ import annotations

import html
import io
import json
import re
import shlex
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from tests.serve.conftest import series


def test_a_text_is_predicted_and_its_gates_are_drawn(url, loaded, browser) -> None:
    text = "the day was so good <b> and dull"
    page = browser.open(f"{url}/?model=mood&input={quote(text)}")
    assert 'data-state="done"' in page and '<p id="error" class="error" role="alert"></p>' in page
    assert re.search(r'<p class="big">(.*?)</p>', page)[1] == loaded["mood"].predict([text])[0]
    for share in loaded["mood"].predict_proba([text])[0]:
        assert f"<span>{100 * share:.1f} %</span>" in page
    assert re.findall(r'data-gate="(\w+)"', page) == ["i", "f", "g", "o", "h", "c"]
    assert "<b>" not in page


def test_a_series_is_drawn_in_colours(url, browser) -> None:
    image = pytest.importorskip("PIL.Image")
    x = next(s for s in series(50, seed=31) if len(s) > 8)
    text = "\n".join(", ".join(f"{v:.3f}" for v in step) for step in x)
    page = browser.open(f"{url}/?model=wave&input={quote(text)}")
    assert re.findall(r'data-line="([^"]*)"', page) == ["feature 1", "feature 2", "feature 3"]
    seen = np.asarray(image.open(io.BytesIO(browser.shot())).convert("RGB")).astype(int)
    blue, red = seen[..., 2] - seen[..., 0] > 20, seen[..., 0] - seen[..., 2] > 20
    assert blue.sum() > 5000 and red.sum() > 1000  # gates from white to blue, states also red


def test_an_error_is_told(url, browser) -> None:
    page = browser.open(f"{url}/?model=wave&input={quote('1, 2')}")
    assert 'data-state="error"' in page
    assert "needs 3 values. Got 2." in html.unescape(re.search(r'role="alert">(.*?)</p>', page)[1])


def test_the_example_of_each_model_is_answered(url, models, browser) -> None:
    for name in models:
        browser.try_example(f"{url}/?model={name}")
        assert browser.run("document.querySelector('#answer .big').textContent"), name


def test_nothing_is_loaded_from_elsewhere(url) -> None:
    for path in ("/", "/docs"):
        found = httpx.get(url + path)
        assert not re.search(r'(src|href)="(?!/)', found.text) and "http" not in re.sub(
            re.escape(url), "", found.text
        )
        policy = found.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src '") and "unsafe" not in policy


def test_the_examples_of_the_docs_are_what_the_server_answers(url) -> None:
    page = html.unescape(httpx.get(f"{url}/docs").text)
    blocks = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert len(blocks) == 10
    for command, answer in zip(blocks[::2], blocks[1::2]):
        words = shlex.split(command)
        assert words[:2] == ["curl", "-s"]
        found = httpx.post(words[2], content=words[words.index("-d") + 1])
        got, told = found.json(), json.loads(answer)
        for mine, its in zip(got.pop("outputs"), told.pop("outputs"), strict=True):
            if its["datatype"] == "FP64":
                np.testing.assert_allclose(mine.pop("data"), its.pop("data"), rtol=1e-5)
            assert mine == its
        assert got == told


def test_gates(url, loaded) -> None:
    from unspool.explain import activations

    found = httpx.post(
        f"{url}/v2/models/kind/activity", json={"sequence": [3, 1, 4], "backward": True}
    ).json()
    assert found["tokens"] == ["3", "1", "4"] and found["directions"] == 2 and found["layers"] == 1
    expected = activations(loaded["kind"], np.array([3, 1, 4]), backward=True)
    assert list(found["gates"]) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found["gates"][name], values, atol=6e-5)


@pytest.mark.parametrize(
    ("model", "body", "status", "part"),
    [
        ("score", {"sequence": "a", "layer": 2}, 422, "[1, 1]"),
        ("score", {"sequence": "a", "backward": True}, 422, "false"),
        ("score", {"sequence": ["a"]}, 422, "a text"),
        ("score", {"sequence": ""}, 422, "Got 0"),
        ("score", {"sequence": "a " * 501}, 413, "Got 501"),
        ("score", {"text": "a"}, 400, "'sequence'"),
        ("wave", {"sequence": [[1, 2]]}, 422, "needs 3 values"),
        ("mixed", {"sequence": "a"}, 422, "columns"),
    ],
)
def test_gates_that_cannot_be_drawn(url, model, body, status, part) -> None:
    found = httpx.post(f"{url}/v2/models/{model}/activity", json=body)
    assert found.status_code == status and part in found.json()["error"], found.text
