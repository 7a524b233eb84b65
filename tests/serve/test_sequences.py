"""Triton's sequences: a stateful model over REST, driven by Triton's own client and by hand."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest
from tests.serve.conftest import series, texts
from tests.serve.raw import Client

triton = pytest.importorskip("tritonclient.http")


def step(url: str, model: str, name: str, chunk: list, key: object, **flags: bool) -> httpx.Response:
    array = np.array(chunk)
    datatype = "BYTES" if array.dtype.kind == "U" else "FP64"
    one = {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
    parameters = {"sequence_id": key, **{f"sequence_{flag}": value for flag, value in flags.items()}}
    return httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": [one], "parameters": parameters})


def number(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    return response.json()["outputs"][0]["data"]


def test_tritons_client_drives_a_stateful_model(url, loaded) -> None:
    """Two sequences in turn, a step at a time, binary both ways; each the numbers of the series so far."""
    first = next(s for s in series(40, seed=11) if len(s) == 6)
    second = -first
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("wave")
        assert client.get_server_metadata()["name"] == "unspool"
        assert "sequence_batching" in client.get_model_config("wave")
        assert [m["name"] for m in client.get_model_repository_index()] == [
            "score",
            "mood",
            "wave",
            "kind",
            "mixed",
        ]
        for t in range(6):
            for key, x in ((1001, first), (1002, second)):
                given = triton.InferInput("series", [1, 1, 3], "FP32")
                given.set_data_from_numpy(x[None, t : t + 1])
                answer = client.infer(
                    "wave", [given], sequence_id=key, sequence_start=t == 0, sequence_end=t == 5
                )
                expected = loaded["wave"].predict([x[: t + 1]])
                np.testing.assert_allclose(answer.as_numpy("prediction"), expected, rtol=0)
        with pytest.raises(triton.InferenceServerException, match="no open stream 1001"):
            client.infer("wave", [given], sequence_id=1001)


def test_tritons_client_sends_texts(url, loaded) -> None:
    x = texts(4, seed=12)
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        given = triton.InferInput("text", [4], "BYTES")
        given.set_data_from_numpy(np.array([t.encode() for t in x], dtype=object))
        wanted = [
            triton.InferRequestedOutput("label"),
            triton.InferRequestedOutput("probabilities", binary_data=False),
        ]
        for packed in (None, "gzip", "deflate"):
            answer = client.infer("mood", [given], outputs=wanted, request_compression_algorithm=packed)
            assert [b.decode() for b in answer.as_numpy("label")] == loaded["mood"].predict(x).tolist()
            np.testing.assert_allclose(
                answer.as_numpy("probabilities"), loaded["mood"].predict_proba(x), rtol=1e-6
            )


def test_a_text_in_pieces_is_the_text(url, loaded) -> None:
    whole = "the day was so good and dull"
    pieces = ["the d", "ay was s", "o go", "od and dull"]
    for k, piece in enumerate(pieces):
        last = number(step(url, "score", "text", [piece], "pieces", start=k == 0, end=k == 3))
    np.testing.assert_allclose(last, loaded["score"].predict([whole]), rtol=0)


def test_start_and_end_in_one_request(url, loaded) -> None:
    found = step(url, "score", "text", ["good day"], 21, start=True, end=True)
    np.testing.assert_allclose(number(found), loaded["score"].predict(["good day"]), rtol=0)
    assert found.json()["parameters"] == {"sequence_id": 21}
    assert step(url, "score", "text", ["good"], 21).status_code == 409


def test_a_start_begins_anew(url, loaded) -> None:
    for key in (31, "thirty-one"):
        number(step(url, "score", "text", ["awful awful "], key, start=True))
        found = number(step(url, "score", "text", ["good"], key, start=True, end=True))
        np.testing.assert_allclose(found, loaded["score"].predict(["good"]), rtol=0)


def test_a_refused_start_opens_nothing(start) -> None:
    url = start("wave")
    assert step(url, "wave", "series", [[1.0, 2.0]], 5, start=True).status_code == 422
    bad = {"name": "series", "datatype": "FP32", "shape": [1, 3], "data": [1, 1e300, 1]}
    body = {"inputs": [bad], "parameters": {"sequence_id": 5, "sequence_start": True}}
    assert httpx.post(f"{url}/v2/models/wave/infer", json=body).status_code == 422
    assert httpx.get(f"{url}/health").json()["streams"] == 0


def test_a_refused_step_changes_nothing(url, loaded) -> None:
    x = [[0.5, 1.0, -1.0], [1.0, 0.0, 2.0]]
    number(step(url, "wave", "series", x[:1], 41, start=True))
    bad = {"name": "series", "datatype": "FP32", "shape": [1, 3], "data": [1, 1e300, 1]}
    body = {"inputs": [bad], "parameters": {"sequence_id": 41}}
    refused = httpx.post(f"{url}/v2/models/wave/infer", json=body)
    assert refused.status_code == 422 and "infinity" in refused.json()["error"]
    found = number(step(url, "wave", "series", x[1:], 41, end=True))
    np.testing.assert_allclose(found, loaded["wave"].predict([np.array(x)])[0], rtol=0)


def test_models_that_read_from_the_end_say_so(url) -> None:
    one = {"name": "ids", "datatype": "INT64", "shape": [1], "data": [1]}
    body = {"inputs": [one], "parameters": {"sequence_id": 1, "sequence_start": True}}
    found = httpx.post(f"{url}/v2/models/kind/infer", json=body)
    assert found.status_code == 422 and "bidirectional" in found.json()["error"]
    assert "sequence_batching" not in httpx.get(f"{url}/v2/models/kind/config").json()


def test_two_sequences_in_a_request_are_refused(url) -> None:
    found = step(url, "score", "text", ["good", "day"], 51, start=True)
    assert found.status_code == 422 and "one sequence at a time" in found.json()["error"]


def test_no_more_streams_than_may_be(start) -> None:
    url = start("score", sessions=2)
    for key in (1, 2):
        number(step(url, "score", "text", ["good"], key, start=True))
    refused = step(url, "score", "text", ["good"], 3, start=True)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    number(step(url, "score", "text", ["good"], 1, end=True))
    number(step(url, "score", "text", ["good"], 3, start=True))


def test_200_clients_joining_at_once(start, loaded) -> None:
    """Each begins a stream of its own, goes on in turn with all others, and gets its own numbers."""
    url = start("score")
    x = [t.split() for t in texts(200, seed=13)]

    async def client(key: int, words: list[str]) -> float:
        async with Client(url) as http:
            for k, word in enumerate(words):
                one = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [word + " "]}
                flags = {"sequence_start": k == 0, "sequence_end": k == len(words) - 1}
                body = {"inputs": [one], "parameters": {"sequence_id": key, **flags}}
                status, found = await http.post("/v2/models/score/infer", body)
                assert status == 200, found
        return found["outputs"][0]["data"][0]

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(client(k + 1, words) for k, words in enumerate(x)))

    found = asyncio.run(all_of_them())
    np.testing.assert_allclose(
        found, loaded["score"].predict([" ".join(words) for words in x]), rtol=1e-5, atol=1e-6
    )
    assert httpx.get(f"{url}/health").json()["streams"] == 0
