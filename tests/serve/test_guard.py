"""Who may speak to the server."""

from __future__ import annotations

import hmac
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from unspool.errors import InvalidParameterError
from unspool.serve import Service, guard
from unspool.serve.server import Server

TOKEN = "0123456789abcdef.~_-"
GOOD = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}


@pytest.fixture(scope="module")
def closed(models):
    from tests.serve.conftest import running

    with running(Service({"score": models["score"]}, token=TOKEN)) as url:
        yield url


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_is_needed(closed) -> None:
    place = f"{closed}/v2/models/score/infer"
    for headers in ({}, bearer("0123456789abcdef.~_"), {"Authorization": f"Basic {TOKEN}"}, bearer("é" * 20)):
        raw = {name: value.encode() for name, value in headers.items()}
        found = httpx.post(place, json=GOOD, headers=raw)
        assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in found.text
    assert httpx.post(place, json=GOOD, headers=bearer()).status_code == 200
    for path in ("/metrics", "/health", "/docs", "/openapi.json"):
        assert httpx.get(closed + path).status_code == 401
    assert httpx.get(f"{closed}/v2/nothing").status_code == 401


@pytest.mark.parametrize("path", ["/", "/ping", "/v2/health/live", "/v2/health/ready"])
def test_open_paths(closed, path) -> None:
    assert httpx.get(closed + path).status_code == 200


def test_it_is_compared_in_constant_time(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: seen.append((a, b)) or False)
    headers = {"host": "x", "authorization": "Bearer abc"}
    with pytest.raises(Exception, match="Authorization"):
        guard.Guard(TOKEN).check(headers, open_to_all=False)
    assert seen == [(b"abc", TOKEN.encode())] and hmac.compare_digest(b"a", b"a") is False


def test_websockets_bear_it_in_a_header_or_as_a_protocol(closed) -> None:
    place = f"ws{closed.removeprefix('http')}/v2/models/score/stream"
    with pytest.raises(InvalidStatus) as refused:
        connect(place, proxy=None).__enter__()
    assert refused.value.response.status_code == 401
    with connect(place, proxy=None, additional_headers=bearer()) as client:
        assert json.loads(client.recv(10))["received"] == 0
    offered = ["unspool.v1", f"bearer.{TOKEN}"]
    with connect(place, proxy=None, subprotocols=offered) as client:
        assert client.subprotocol == "unspool.v1"
        assert json.loads(client.recv(10))["received"] == 0


def test_pages_of_another_site_are_refused(url) -> None:
    place = f"{url}/v2/models/score/infer"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://["):
        found = httpx.post(place, json=GOOD, headers={"Origin": origin})
        assert found.status_code == 403 and "another site" in found.json()["error"]
    assert httpx.post(place, json=GOOD, headers={"Origin": url}).status_code == 200
    with pytest.raises(InvalidStatus) as refused:
        socket = f"ws{url.removeprefix('http')}/v2/models/score/stream"
        connect(socket, proxy=None, origin="http://evil.example").__enter__()
    assert refused.value.response.status_code == 403


def test_other_names_of_this_machine_are_refused_without_a_token(url, closed) -> None:
    for host in (
        "evil.example",
        "evil.example:80",
        "",
        "[",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "a@localhost",
    ):
        found = httpx.get(f"{url}/v2", headers={"Host": host})
        assert found.status_code in (400, 403), host
    for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:80"):
        assert httpx.get(f"{url}/v2", headers={"Host": host}).status_code == 200
    assert httpx.get(f"{closed}/v2", headers={"Host": "models.example", **bearer()}).status_code == 200


def test_a_request_for_a_whole_address(url) -> None:
    """As a proxy gets it: the host in it counts."""
    place = urlsplit(url)
    for target, host, status in (
        ("http://localhost/v2", "evil.example", 200),
        ("http://localhost", "localhost", 200),
        ("http://localhost/v2/no", "localhost", 404),
        ("http://evil.example/v2", "localhost", 403),
        ("http://[/v2", "localhost", 403),
    ):
        with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
            raw.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert int(raw.makefile("rb").readline().split()[1]) == status, target


def test_elsewhere_than_on_this_machine_only_with_a_token(models) -> None:
    service = Service({"score": models["score"]})
    for host in ("0.0.0.0", "::", "models.example", "127.0.0.1.example"):
        with pytest.raises(InvalidParameterError, match="UNSPOOL_TOKEN"):
            Server(service, host, 0)
    for token in ("short", "with space in the token", "a" * 300, ""):
        with pytest.raises(InvalidParameterError, match="16 to 256") as error:
            Server(Service({"score": models["score"]}, token=token), "127.0.0.1", 0)
        assert not token or token not in str(error.value)
