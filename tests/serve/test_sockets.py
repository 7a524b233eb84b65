"""Streams over WebSockets: numbered answers, broken connections, clients that vanish or wait."""

from __future__ import annotations

import json
import socket
import time

import httpx
import numpy as np
import pytest
from tests.serve.conftest import series
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

CODE = 4001


def opened(url: str, model: str, query: str = "", **options) -> tuple[ClientConnection, dict]:
    """(the connection, its greeting)."""
    place = f"ws{url.removeprefix('http')}/v2/models/{model}/stream{query}"
    client = connect(place, proxy=None, **options).__enter__()
    return client, json.loads(client.recv(10))


def say(client: ClientConnection, message: object) -> dict:
    client.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return json.loads(client.recv(10))


def streams(url: str) -> int:
    return httpx.get(f"{url}/health").json()["streams"]


def wait_for(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not happen in twenty seconds.")


def test_series_step_by_step(url, loaded) -> None:
    x = series(3, seed=21)[0]
    client, hello = opened(url, "wave")
    with client:
        assert hello == {"stream": hello["stream"], "model_version": "1", "received": 0}
        for t in range(len(x)):
            chunk = {"series": [x[t].tolist()]} if t % 2 else x[t : t + 1].astype("<f4").tobytes()
            found = say(client, chunk)
            assert found["step"] == t + 1
            expected = loaded["wave"].predict([x[: t + 1]])[0]
            np.testing.assert_allclose(found["outputs"]["prediction"], expected, rtol=0)
        assert say(client, {"end": True}) == {"step": len(x) + 1, "outputs": found["outputs"]}
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
        assert closed.value.rcvd.code == 1000


def test_text_of_a_classifier(url, loaded) -> None:
    client, _ = opened(url, "mood")
    with client:
        say(client, {"text": "what a go"})
        found = say(client, {"text": "od day", "end": True})["outputs"]
    assert found["label"] == loaded["mood"].predict(["what a good day"])[0]
    expected = loaded["mood"].predict_proba(["what a good day"])[0]
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0)


def test_the_end_alone_reads_the_last_word(url, loaded) -> None:
    client, _ = opened(url, "score")
    with client:
        held = say(client, {"text": "the day was aw"})["outputs"]["prediction"]
        assert say(client, {"text": "ful"})["outputs"]["prediction"] == held  # the word has not ended
        found = say(client, {"end": True})["outputs"]["prediction"]
    assert found == loaded["score"].predict(["the day was awful"])[0] != held


@pytest.mark.parametrize(
    ("message", "status", "part"),
    [
        ("{", 400, "JSON"),
        ("[]", 422, "object"),
        ({"text": "good"}, 422, "'series'"),
        ({"series": [[1.0, 2.0]]}, 422, "3 numbers"),
        ({"series": 1.0}, 422, "list of steps"),
        ({"series": [[1.0, 2.0, 1e300], [1.0, "2", 3.0]]}, 422, "FP64"),
        ({"end": 1}, 422, "true or false"),
        (b"123", 422, "12 bytes|0 bytes"),
    ],
)
def test_a_bad_message_is_answered_and_changes_nothing(url, loaded, message, status, part) -> None:
    x = series(3, seed=22)[0]
    client, _ = opened(url, "wave")
    with client:
        say(client, {"series": x[:1].tolist()})
        found = say(client, message)
        assert found["step"] == 2 and found["status"] == status
        assert any(p in found["error"] for p in part.split("|")), found
        if len(x) > 1:
            last = say(client, {"series": x[1:].tolist()})["outputs"]["prediction"]
            np.testing.assert_allclose(last, loaded["wave"].predict([x])[0], rtol=0)


def test_a_broken_connection_is_taken_up_again(url, loaded) -> None:
    """Two answers on their way are lost with the connection: the client gets them with the next one, and goes on."""
    x = np.random.default_rng(23).normal(size=(6, 3))
    client, hello = opened(url, "wave")
    say(client, {"series": x[:1].tolist()})
    for t in (1, 2):
        client.send(json.dumps({"series": x[t : t + 1].tolist()}))
    first_lost = client.recv(10), client.recv(10)
    cut(client)
    client, again = opened(url, "wave", f"?resume={hello['stream']}&seen=1")
    with client:
        assert again == {**hello, "received": 3}
        assert (client.recv(10), client.recv(10)) == first_lost
        found = say(client, {"series": x[3:].tolist()})
        assert found["step"] == 4
        expected = loaded["wave"].predict([x])[0]
        np.testing.assert_allclose(found["outputs"]["prediction"], expected, rtol=0)


@pytest.mark.parametrize("lost", [1, 2])
def test_the_last_answer_is_not_lost_with_the_connection(url, loaded, lost) -> None:
    """The answers to the message that ends the stream do not arrive: a new connection has them, as often as asked."""
    x = np.random.default_rng(24).normal(size=(4, 3))
    client, hello = opened(url, "wave")
    say(client, {"series": x[:1].tolist()})
    before = streams(url)
    if lost == 2:
        client.send(json.dumps({"series": x[1:3].tolist()}))
    client.send(json.dumps({"series": x[3 if lost == 2 else 1 :].tolist(), "end": True}))
    wait_for(lambda: streams(url) == before - 1)  # its state is gone; nobody has read its answers
    client.close()
    for _ in range(2):
        client, again = opened(url, "wave", f"?resume={hello['stream']}&seen=1")
        with client:
            assert again == {**hello, "received": 1 + lost, "ended": True}
            found = [json.loads(client.recv(10)) for _ in range(lost)]
            assert [one["step"] for one in found] == list(range(2, 2 + lost))
            expected = loaded["wave"].predict([x])[0]
            np.testing.assert_allclose(found[-1]["outputs"]["prediction"], expected, rtol=0)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(10)
            assert closed.value.rcvd.code == 1000
    with pytest.raises(InvalidStatus) as refused:
        opened(url, "wave", f"?resume={hello['stream']}&seen=9")
    assert f"[0, {1 + lost}]" in json.loads(refused.value.response.body)["error"]


def test_an_ended_stream_is_forgotten_too(start) -> None:
    url = start("score", kept=0.5)
    client, hello = opened(url, "score")
    say(client, {"text": "good", "end": True})
    client.close()
    opened(url, "score", f"?resume={hello['stream']}&seen=0")[0].close()

    def gone() -> bool:
        try:
            opened(url, "score", f"?resume={hello['stream']}&seen=0")[0].close()
        except InvalidStatus as refused:
            return refused.response.status_code == 409
        return False

    wait_for(gone)


def cut(client: ClientConnection) -> None:
    """End the connection as a cable that is pulled out, without a word of the protocol."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()


def test_a_second_connection_takes_the_stream_over(url) -> None:
    client, hello = opened(url, "score")
    say(client, {"text": "good "})
    other, again = opened(url, "score", f"?resume={hello['stream']}&seen=1")
    with other, pytest.raises(ConnectionClosed) as closed:
        assert again["received"] == 1
        client.recv(10)
    assert closed.value.rcvd.code == CODE


@pytest.mark.parametrize(
    ("model", "query", "status", "part"),
    [
        ("none", "", 404, "no model"),
        ("kind", "", 422, "bidirectional"),
        ("mixed", "", 422, "columns"),
        ("score", "?resume=abc", 409, "no open stream"),
        ("score", "?Resume=abc", 422, "'Resume'"),
        ("score", "?seen=1", 422, "'seen'"),
        ("score", "?resume=a&resume=b", 422, "resume=STREAM"),
        ("score/streams", "", 404, "no stream"),
    ],
)
def test_refused_at_the_door(url, model, query, status, part) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(url, model, query)
    assert refused.value.response.status_code == status
    assert part in json.loads(refused.value.response.body)["error"]


def test_answers_that_are_not_kept_are_told(start) -> None:
    url = start("score", replies=2)
    client, hello = opened(url, "score")
    for _ in range(4):
        say(client, {"text": "a "})
    client.close()
    for seen in ("1", "5", "x"):
        with pytest.raises(InvalidStatus) as refused:
            opened(url, "score", f"?resume={hello['stream']}&seen={seen}")
        assert refused.value.response.status_code == 409
        assert "in [2, 4]" in json.loads(refused.value.response.body)["error"]
    client, _ = opened(url, "score", f"?resume={hello['stream']}&seen=2")
    assert [json.loads(client.recv(10))["step"] for _ in range(2)] == [3, 4]
    client.close()


def test_a_client_that_vanishes_leaves_its_stream_for_a_while(start) -> None:
    url = start("score", idle=1.5)  # long enough for a busy machine to look before
    client, _ = opened(url, "score")
    say(client, {"text": "good "})
    cut(client)
    assert streams(url) == 1
    wait_for(lambda: streams(url) == 0)
    assert "unspool_sessions_expired_total 1.0" in httpx.get(f"{url}/metrics").text


def test_a_client_that_pauses_keeps_its_stream(start) -> None:
    """While it is connected, however long: here for longer than another one that is forgotten."""
    url = start("score", idle=0.05)
    client, _ = opened(url, "score")
    with client:
        say(client, {"text": "good "})
        other, _ = opened(url, "score")
        say(other, {"text": "good "})
        other.close()
        wait_for(lambda: streams(url) == 1)  # the other one's time, which began later, is over
        assert say(client, {"text": "day ", "end": True})["step"] == 2


def test_one_that_said_nothing_leaves_nothing(start) -> None:
    url = start("score")
    client, _ = opened(url, "score")
    client.close()
    wait_for(lambda: streams(url) == 0)


def test_no_more_than_may_be(start) -> None:
    url = start("score", sessions=1)
    client, _ = opened(url, "score")
    with client, pytest.raises(InvalidStatus) as refused:
        opened(url, "score")
    assert refused.value.response.status_code == 429


def test_a_message_that_is_too_long_ends_the_connection(start) -> None:
    url = start("score", body=1000)
    client, _ = opened(url, "score")
    with pytest.raises(ConnectionClosed) as closed:
        say(client, {"text": "a" * 2000})
    assert closed.value.rcvd.code == 1009


def test_a_text_that_is_no_utf8(url, caplog) -> None:
    client, _ = opened(url, "score")
    with client, pytest.raises(ConnectionClosed) as closed:
        client.protocol.send_text(b"\xff")
        client.socket.sendall(b"".join(client.protocol.data_to_send()))
        client.recv(10)
    assert closed.value.rcvd.code == 1007
    assert "Invalid UTF-8" in caplog.text and "Traceback" not in caplog.text


def test_millions_of_steps_leave_the_session_as_it_was(start) -> None:
    """Two million steps in chunks through one stream: what it keeps does not grow."""
    url = start("wave", steps=250_000)
    client, _ = opened(url, "wave", max_size=None)
    chunk = np.random.default_rng(0).normal(size=(200_000, 3)).astype("<f4").tobytes()
    with client:
        for k in range(10):
            client.send(chunk)
            found = json.loads(client.recv(60))
            assert found["step"] == k + 1 and len(found["outputs"]["prediction"]) == 2
    assert 'unspool_stream_steps_total{model="wave"} 2e+06' in httpx.get(f"{url}/metrics").text
