"""Predictions over the REST interface of the protocol, against the models themselves."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import numpy as np
import pytest
from tests.serve.conftest import ids, series, texts
from tests.serve.raw import Client

from unspool import Ragged


def infer(url: str, model: str, *inputs: dict, **more) -> httpx.Response:
    return httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": list(inputs), **more})


def tensor(name: str, datatype: str, shape: list[int], data: list) -> dict:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def answers(response: httpx.Response) -> dict[str, np.ndarray]:
    assert response.status_code == 200, response.text
    return {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in response.json()["outputs"]}


def test_texts_to_numbers(url, loaded) -> None:
    x = [*texts(9, seed=1), "", "never seen words"]
    found = answers(infer(url, "score", tensor("text", "BYTES", [11], x)))
    np.testing.assert_allclose(found["prediction"], loaded["score"].predict(x), rtol=0)


def test_texts_to_labels(url, loaded) -> None:
    x = texts(9, seed=2)
    found = answers(infer(url, "mood", tensor("text", "BYTES", [9, 1], [[t] for t in x])))
    assert found["label"].tolist() == loaded["mood"].predict(x).tolist()
    np.testing.assert_allclose(found["probabilities"], loaded["mood"].predict_proba(x), rtol=0)


def test_series_of_any_length_without_padding(url, loaded) -> None:
    x = series(7, seed=3)
    steps = np.concatenate(x)
    found = infer(
        url,
        "wave",
        tensor("series", "FP32", list(steps.shape), steps.tolist()),
        tensor("lengths", "INT64", [7], [len(s) for s in x]),
    )
    np.testing.assert_allclose(answers(found)["prediction"], loaded["wave"].predict(x), rtol=0)


def test_series_in_one_block(url, loaded) -> None:
    block = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)
    flat = tensor("series", "FP32", [3, 4, 3], block.ravel().tolist())
    expected = loaded["wave"].predict(list(block))
    np.testing.assert_allclose(answers(infer(url, "wave", flat))["prediction"], expected, rtol=0)
    lengths = [4, 2, 0]
    found = infer(url, "wave", flat, tensor("lengths", "INT64", [3], lengths))
    shorter = Ragged.from_list([row[:n] for row, n in zip(block.astype(float), lengths)])
    np.testing.assert_allclose(answers(found)["prediction"], loaded["wave"].predict(shorter), rtol=0)


def test_a_missing_number_is_null(url, loaded) -> None:
    x = series(1, seed=4)[0].astype(float)
    x[0, 1] = np.nan
    data = [[None if np.isnan(v) else v for v in row] for row in x.tolist()]
    found = infer(url, "wave", tensor("series", "FP64", list(x.shape), data))
    with pytest.warns(UserWarning, match="missing"):
        expected = loaded["wave"].predict([x])
    np.testing.assert_allclose(answers(found)["prediction"], expected, rtol=0)


def test_ids(url, loaded) -> None:
    x = ids(5, seed=5)
    flat = [i for row in x for i in row]
    found = infer(
        url,
        "kind",
        tensor("ids", "INT64", [len(flat)], flat),
        tensor("lengths", "INT32", [5], [len(row) for row in x]),
    )
    assert answers(found)["label"].tolist() == loaded["kind"].predict(x).tolist()
    assert found.json()["outputs"][0]["datatype"] == "BOOL"


def test_ids_of_another_size(url, loaded) -> None:
    for datatype in ("UINT8", "INT16", "UINT32", "INT64"):
        found = answers(infer(url, "kind", tensor("ids", datatype, [3], [1, 19, 4])))
        assert found["label"].tolist() == loaded["kind"].predict([[1, 19, 4]]).tolist()


def test_columns_beside_the_text(url, loaded) -> None:
    x = {"text": texts(3, seed=6), "age": [1.0, 2.0, None], "place": ["a", "b", "elsewhere"]}
    found = infer(
        url,
        "mixed",
        tensor("text", "BYTES", [3], x["text"]),
        tensor("age", "FP64", [3], x["age"]),
        tensor("place", "BYTES", [3], x["place"]),
    )
    with pytest.warns(UserWarning):
        expected = loaded["mixed"].predict(x)
    np.testing.assert_allclose(answers(found)["prediction"], expected, rtol=0)


def test_metadata_names_what_infer_takes_and_gives(url, loaded) -> None:
    found = httpx.get(f"{url}/v2/models/wave").json()
    assert found["versions"] == ["1"] and found["platform"] == "unspool"
    assert found["inputs"] == [
        {"name": "series", "datatype": "FP32", "shape": [-1, -1, 3]},
        {"name": "lengths", "datatype": "INT64", "shape": [-1], "parameters": {"optional": True}},
    ]
    assert found["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1, 2]}]
    mood = httpx.get(f"{url}/v2/models/mood/versions/1").json()
    assert [o["name"] for o in mood["outputs"]] == ["label", "probabilities"]
    assert mood["parameters"]["classes"] == loaded["mood"].classes_.tolist()
    assert mood["outputs"][1]["shape"] == [-1, 2]


def test_only_the_outputs_asked_for(url) -> None:
    found = infer(
        url, "mood", tensor("text", "BYTES", [1], ["good"]), outputs=[{"name": "probabilities"}], id="a7"
    )
    assert found.json()["id"] == "a7" and [o["name"] for o in found.json()["outputs"]] == ["probabilities"]


def test_binary_both_ways(url, loaded) -> None:
    x = series(2, seed=7)
    steps = np.concatenate(x).astype("<f4")
    raw = steps.tobytes() + np.array([len(s) for s in x], "<i8").tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "series",
                    "datatype": "FP32",
                    "shape": list(steps.shape),
                    "parameters": {"binary_data_size": steps.nbytes},
                },
                {
                    "name": "lengths",
                    "datatype": "INT64",
                    "shape": [2],
                    "parameters": {"binary_data_size": 16},
                },
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    found = httpx.post(f"{url}/v2/models/wave/infer", content=head + raw, headers=headers)
    size = int(found.headers["Inference-Header-Content-Length"])
    (entry,) = json.loads(found.content[:size])["outputs"]
    assert entry["parameters"] == {"binary_data_size": 32} and "data" not in entry
    got = np.frombuffer(found.content[size:], "<f8").reshape(entry["shape"])
    np.testing.assert_allclose(got, loaded["wave"].predict(x), rtol=0)


def test_compressed_body(url) -> None:
    body = gzip.compress(json.dumps({"inputs": [tensor("text", "BYTES", [1], ["good"])]}).encode())
    found = httpx.post(f"{url}/v2/models/score/infer", content=body, headers={"Content-Encoding": "gzip"})
    assert found.status_code == 200


GOOD = tensor("text", "BYTES", [1], ["good"])
BAD = [
    ("score", {"inputs": [{**GOOD, "name": "texts"}]}, 422, "no input 'texts'"),
    ("score", {"inputs": [{**GOOD, "datatype": "STRING"}]}, 400, "datatype"),
    ("score", {"inputs": [{**GOOD, "shape": [2]}]}, 422, "needs 2 values. Got 1"),
    ("score", {"inputs": [{**GOOD, "shape": [-1]}]}, 400, "shape"),
    ("score", {"inputs": [{**GOOD, "data": [1]}]}, 422, "strings"),
    ("score", {"inputs": [{**GOOD, "data": ["\ud800"]}]}, 422, "Unicode"),
    ("score", {"inputs": [{**GOOD, "shape": [0], "data": []}]}, 422, "no sequence"),
    ("score", {"inputs": [GOOD, GOOD]}, 422, "twice"),
    ("score", {"inputs": [GOOD], "outputs": [{"name": "prediction"}] * 2}, 422, "twice"),
    ("score", {"inputs": []}, 400, "one at least"),
    ("score", {}, 400, "inputs"),
    ("score", [], 400, "object"),
    ("score", {"inputs": [GOOD], "priority": 1}, 400, "priority"),
    ("score", {"inputs": [GOOD], "parameters": {"timeout": 5}}, 422, "timeout"),
    ("score", {"inputs": [GOOD], "outputs": [{"name": "score"}]}, 422, "no output 'score'"),
    ("score", {"inputs": [GOOD], "parameters": {"sequence_start": True}}, 422, "sequence_id"),
    ("score", {"inputs": [tensor("text", "INT64", [1], [1])]}, 422, "must be BYTES"),
    ("wave", {"inputs": [tensor("series", "FP32", [1, 2], [1, 2])]}, 422, "[n, T, 3] or [T, 3]"),
    ("wave", {"inputs": [tensor("series", "FP32", [1, 3], [1, 2, 1e300])]}, 422, "infinity"),
    ("wave", {"inputs": [tensor("series", "FP32", [1, 3], [1, 2, "6"])]}, 422, "FP32 values. Got '6'"),
    ("wave", {"inputs": [tensor("series", "FP32", [1, 3], [[1, 2], [3]])]}, 422, "equally many"),
    ("wave", {"inputs": [tensor("series", "FP32", [1, 3], [True, 2, "x"])]}, 422, "FP32 values"),
    ("kind", {"inputs": [tensor("ids", "INT64", [1], [10**30])]}, 422, "INT64"),
    ("kind", {"inputs": [tensor("ids", "INT64", [1], [1.5])]}, 422, "INT64"),
    ("kind", {"inputs": [tensor("ids", "UINT8", [1], [259])]}, 422, "range of UINT8"),
    ("kind", {"inputs": [tensor("ids", "UINT8", [1], [-1])]}, 422, "range of UINT8"),
    ("kind", {"inputs": [tensor("ids", "INT64", [1], [20])]}, 422, "below 20"),
    (
        "kind",
        {"inputs": [tensor("ids", "INT64", [2], [1, 2]), tensor("lengths", "INT64", [1], [3])]},
        422,
        "add up",
    ),
    ("mixed", {"inputs": [GOOD]}, 422, "needs the input 'age'"),
    ("none", {"inputs": [GOOD]}, 404, "no model 'none'"),
]


@pytest.mark.parametrize(("model", "body", "status", "part"), BAD)
def test_errors_say_what_is_wrong(url, model, body, status, part) -> None:
    found = httpx.post(f"{url}/v2/models/{model}/infer", content=json.dumps(body))
    assert (found.status_code, list(found.json())) == (status, ["error"]), found.text
    assert part in found.json()["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs": NaN}', b'{"inputs": [{"name": 1e999}]}', b"1" * 5000],
)
def test_bodies_that_are_no_request(url, body) -> None:
    found = httpx.post(f"{url}/v2/models/score/infer", content=body)
    assert found.status_code == 400 and found.json()["error"]


def test_paths_and_methods(url) -> None:
    assert httpx.get(f"{url}/v2/nothing").status_code == 404
    assert httpx.get(f"{url}/v2/models/score/versions/2").status_code == 404
    found = httpx.get(f"{url}/v2/models/score/infer")
    assert found.status_code == 405 and found.headers["allow"] == "POST"


def test_a_broken_request_beside_good_ones(start, loaded) -> None:
    """Ids that are too large pass the reading and fail in the joined batch: the others are computed all the same."""
    url = start("kind", delay=0.2)
    rows = [*ids(8, seed=8), [3, 99], *ids(8, seed=9)]

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient() as client:
            bodies = [{"inputs": [tensor("ids", "INT64", [len(row)], row)]} for row in rows]
            return await asyncio.gather(*(client.post(f"{url}/v2/models/kind/infer", json=b) for b in bodies))

    found = asyncio.run(ask())
    assert [r.status_code for r in found] == [200] * 8 + [422] + [200] * 8
    good = [row for row in rows if 99 not in row]
    got = [answers(r)["probabilities"][0] for r in found if r.status_code == 200]
    np.testing.assert_allclose(got, loaded["kind"].predict_proba(good), rtol=0)
    assert 'unspool_batch_sequences_bucket{le="1.0",model="kind"} 0.0' in httpx.get(f"{url}/metrics").text


def test_each_of_many_concurrent_ragged_requests_gets_exactly_its_own_rows(start, loaded) -> None:
    """200 requests of 1 to 4 sequences of any length, joined as they come: the bits of each alone."""
    url = start("wave", "mood", delay=0.02)
    rng = np.random.default_rng(0)
    asked = [series(int(rng.integers(1, 5)), seed=100 + k) for k in range(100)]
    words = [texts(int(rng.integers(1, 5)), seed=300 + k) for k in range(100)]

    async def wave(rows: list[np.ndarray]) -> list:
        steps = np.concatenate(rows)
        given = tensor("series", "FP32", list(steps.shape), steps.tolist())
        return await post("wave", given, tensor("lengths", "INT64", [len(rows)], [len(row) for row in rows]))

    async def post(model: str, *inputs: dict) -> list:
        async with Client(url) as client:
            status, found = await client.post(f"/v2/models/{model}/infer", {"inputs": list(inputs)})
        assert status == 200, found
        return [np.array(o["data"]).reshape(o["shape"]) for o in found["outputs"]]

    async def scenario() -> list:
        waves = [wave(rows) for rows in asked]
        moods = [post("mood", tensor("text", "BYTES", [len(rows)], rows)) for rows in words]
        return await asyncio.gather(*waves, *moods)

    found = asyncio.run(scenario())
    for rows, (prediction,) in zip(asked, found):
        np.testing.assert_array_equal(prediction, loaded["wave"].predict(rows))
    for rows, (label, shares) in zip(words, found[100:]):
        assert label.tolist() == loaded["mood"].predict(rows).tolist()
        np.testing.assert_array_equal(shares, loaded["mood"].predict_proba(rows))
    counted = httpx.get(f"{url}/metrics").text
    alone = float(counted.split('unspool_batch_sequences_count{model="wave"} ')[1].split()[0])
    assert alone < 60  # of 100: they were joined
