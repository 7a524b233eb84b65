"""What is too much: 413, 408, 429; and how the server tells how it is."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serve.raw import Client

from unspool.errors import InvalidParameterError
from unspool.serve import Limits


def ask(url: str, *given: str, model: str = "score") -> httpx.Response:
    one = {"name": "text", "datatype": "BYTES", "shape": [len(given)], "data": list(given)}
    return httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": [one]})


def told(response: httpx.Response, status: int, part: str) -> None:
    assert response.status_code == status and part in response.json()["error"], response.text


@pytest.fixture(scope="module")
def small(models):
    from tests.serve.conftest import running

    from unspool.serve import Service

    limits = Limits(body=2000, rows=3, steps=50, reading=0.2, json=1500)
    with running(Service({"score": models["score"], "wave": models["wave"]}, limits)) as url:
        yield url


def test_bodies(small) -> None:
    told(ask(small, "a" * 3000), 413, "2,000 bytes")
    packed = gzip.compress(b" " * 100_000)
    found = httpx.post(f"{small}/v2/models/score/infer", content=packed, headers={"Content-Encoding": "gzip"})
    told(found, 413, "2,000 bytes")

    def chunks():
        for _ in range(30):
            yield b" " * 100

    told(httpx.post(f"{small}/v2/models/score/infer", content=chunks()), 413, "2,000 bytes")
    told(httpx.post(f"{small}/v2/models/score/infer", content=b" " * 1600), 413, "1,500 bytes of JSON")


def test_rows_and_steps(small) -> None:
    told(ask(small, *"abcd"), 413, "3 sequences. Got 4")
    told(ask(small, "a" * 51), 413, "50 characters. Got 51")
    assert ask(small, "a" * 50).status_code == 200
    one = {"name": "series", "datatype": "FP32", "shape": [51, 3], "data": [0] * 153}
    told(httpx.post(f"{small}/v2/models/wave/infer", json={"inputs": [one]}), 413, "50 steps. Got 51")


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (b"abc", "gzip", 400),
        (gzip.compress(b"{}", mtime=0)[:-3], "gzip", 400),
        (gzip.compress(b"{}", mtime=0) * 2, "gzip", 400),
        (b"", "br", 415),
    ],
    ids=["no gzip", "half", "twice", "unknown"],
)
def test_encodings(small, content, encoding, status) -> None:
    headers = {"Content-Encoding": encoding}
    assert (
        httpx.post(f"{small}/v2/models/score/infer", content=content, headers=headers).status_code == status
    )


def test_a_body_that_does_not_come(small) -> None:
    place = urlsplit(small)
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        raw.sendall(
            b"POST /v2/models/score/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = b""
        while part := raw.recv(1000):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ") and b"0.2 seconds" in answer


COMPLETE = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("before", "sent"), [(b"", b""), (b"", b"GET /v2 HT"), (COMPLETE, b"G")])
def test_headers_that_do_not_come(small, before, sent) -> None:
    place = urlsplit(small)
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        raw.sendall(before)
        answer = b"}" * (not before)
        while b"}" not in answer:  # all of what comes before
            answer += raw.recv(1000)
        raw.sendall(sent)
        assert raw.recv(1000) == b""  # the server has closed it


@pytest.mark.parametrize("start", [b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /"])
def test_headers_without_an_end(small, start) -> None:
    """They are read up to a bound, not until the time is over."""
    place = urlsplit(small)
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        sent = 0
        with contextlib.suppress(ConnectionError):
            raw.sendall(start)
            for _ in range(64):
                raw.sendall(b"a" * 2**20)
                sent += 1
        assert sent < 40


def test_a_client_that_goes_before_its_answer(small) -> None:
    place = urlsplit(small)
    for sent in (b"{", b'{"inputs": []}' + b" " * 86):
        with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
            raw.sendall(
                b"POST /v2/models/score/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
                + sent
            )
    assert ask(small, "good").status_code == 200


def test_a_queue_that_is_full(start) -> None:
    url = start("score", queue=4, delay=0.5, batch=100)
    one = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}

    async def client() -> int:
        async with Client(url) as http:
            return (await http.post("/v2/models/score/infer", {"inputs": [one]}))[0]

    async def scenario() -> list[int]:
        return await asyncio.gather(*(client() for _ in range(5)))

    assert sorted(asyncio.run(scenario())) == [200, 200, 429, 429, 429]


def test_limits_are_checked() -> None:
    for name, value in {
        "body": 0,
        "rows": 1.5,
        "delay": -0.1,
        "idle": float("inf"),
        "batch": True,
        "reading": "1",
    }.items():
        with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of Limits"):
            Limits(**{name: value})
    assert Limits(delay=0).delay == 0 and Limits(idle=5).idle == 5


def test_health_and_metrics(start) -> None:
    url = start("score", "mood")
    assert ask(url, "good", "bad").status_code == 200
    assert ask(url, "good", model="none").status_code == 404
    assert httpx.get(f"{url}/health").json() == {
        "status": "ok",
        "models": {"score": "1", "mood": "1"},
        "streams": 0,
        "waiting": 0,
    }
    found = httpx.get(f"{url}/metrics")
    assert found.headers["content-type"].startswith("text/plain")
    values = {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(found.text)
        for s in family.samples
    }
    route = "/v2/models/{model}/infer"
    assert (
        values["unspool_requests_total", route, "200"] == values["unspool_requests_total", route, "404"] == 1
    )
    assert values["unspool_batch_sequences_sum", "score"] == 2
    assert values["unspool_model_version", "mood"] == 1 and values["unspool_sessions",] == 0
    assert json.loads(httpx.get(f"{url}/ping").text) == {"live": True}
