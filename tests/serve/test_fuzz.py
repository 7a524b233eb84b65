"""Requests that were damaged: each is answered or refused, none is a fault of the server."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from unspool.errors import DataError
from unspool.serve import RequestError, examples, invocations
from unspool.serve.drawing import activity
from unspool.serve.limits import Limits
from unspool.serve.protocol import parse_infer, response_body
from unspool.serve.tensors import parse_json

ROUNDS = int(os.environ.get("UNSPOOL_FUZZ_ROUNDS", "150"))  # of each model; more by hand
ODD = [
    None,
    True,
    -1,
    0,
    1,
    2**63,
    10**400,
    1e308,
    0.5,
    "",
    "a",
    "\ud800",
    "\0",
    [],
    [[]],
    {},
    [None],
    {"name": "text"},
]
MOST = 10**6


def valid(served) -> list[dict]:
    inputs = examples.inputs_of(served)
    flags = {"sequence_id": 3, "sequence_start": True, "sequence_end": False, "binary_data_output": True}
    outputs = [{"name": spec.name, "parameters": {"binary_data": True}} for spec in served.outputs]
    return [{"inputs": inputs}, {"id": "a", "inputs": inputs, "parameters": flags, "outputs": outputs}]


def payloads(served) -> list[dict]:
    rows = examples.sequences_of(served)
    table = {"columns": ["a"], "data": [[row] for row in rows]}
    return [{"instances": rows}, {"inputs": {"a": rows}}, {"dataframe_split": table}]


def damaged(value: object, draw: random.Random) -> object:
    """The same document, something in it put to something else, left out, doubled or moved."""
    if draw.random() < 0.15:
        return draw.choice(ODD)
    if isinstance(value, dict) and value:
        key = draw.choice(list(value))
        found = {**value, key: damaged(value[key], draw)}
        if draw.random() < 0.1:
            del found[key]
        elif draw.random() < 0.05:
            found[draw.choice(["x", "name", "inputs"])] = draw.choice(ODD)
        return found
    if isinstance(value, list) and value:
        place = draw.randrange(len(value))
        found = [*value[:place], damaged(value[place], draw), *value[place + 1 :]]
        return found * 2 if draw.random() < 0.05 else found
    return draw.choice(ODD)


def bytes_of(document: object, draw: random.Random) -> bytes:
    body = bytearray(json.dumps(document).encode())
    for _ in range(draw.choice([0, 0, 0, 1, 3])):
        place = draw.randrange(len(body))
        body[place : place + draw.choice([0, 1, 1, 5])] = bytes(
            draw.choices(range(256), k=draw.choice([0, 1, 1]))
        )
        body = body or bytearray(b" ")
    return bytes(body)


@pytest.mark.parametrize("model", ["score", "mood", "wave", "kind", "mixed"])
def test_documents(service, model) -> None:
    served = service.repository.get(model).served
    draw = random.Random(model)
    answered = refused = 0
    for _ in range(ROUNDS):
        kind = draw.choice(["infer", "invocations", "activity"])
        starts = {"infer": valid, "invocations": payloads}.get(
            kind, lambda s: [{"sequence": examples.sequences_of(s)[0]}]
        )
        document = draw.choice(starts(served))
        for _ in range(draw.choice([0, 1, 1, 2])):
            document = damaged(document, draw)
        body = bytes_of(document, draw)
        try:
            if kind == "activity":
                json.dumps(activity(served, parse_json(body, MOST), Limits()), allow_nan=False)
            elif kind == "invocations":
                (found,) = served.answer([invocations.rows_of(served, body, "application/json", MOST)])
                json.dumps(served.predictions(found), allow_nan=False)
            else:
                header = draw.choice([None, None, str(len(body)), str(draw.randrange(10**4)), "x", "-1"])
                asked = parse_infer(body, header, MOST)
                (found,) = served.answer([served.rows(asked.inputs)])
                content, size = response_body(model, "1", asked, found)
                json.loads(content[:size])
            answered += 1
        except (RequestError, DataError) as error:
            assert str(error)
            refused += 1
    assert answered > 0 and refused > ROUNDS / 4


def test_binary_data(service) -> None:
    """Raw tensors cut, grown and changed: of texts, whose elements have lengths, and of numbers."""
    draw = random.Random(0)
    for _ in range(ROUNDS):
        raw = bytearray(
            b"\4\0\0\0good\3\0\0\0day" if draw.random() < 0.5 else np.arange(6, dtype="<f4").tobytes()
        )
        text = len(raw) == 15
        if draw.random() < 0.8:
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        raw = raw[: draw.randrange(len(raw) + 1)] if draw.random() < 0.5 else raw + bytes(draw.randrange(5))
        one = {"name": "text" if text else "series", "datatype": "BYTES" if text else "FP32"}
        one["shape"] = [2] if text else draw.choice([[2, 3], [1, 2, 3], [6], [0, 3], [2**39, 2**39]])
        size = draw.choice([len(raw), len(raw), 15, 24, -1, True, None])
        head = json.dumps({"inputs": [{**one, "parameters": {"binary_data_size": size}}]}).encode()
        served = service.repository.get("score" if text else "wave").served
        try:
            asked = parse_infer(head + bytes(raw), str(len(head)), MOST)
            (found,) = served.answer([served.rows(asked.inputs)])
            assert np.isfinite(found["prediction"]).all() or np.isnan(found["prediction"]).any()
        except (RequestError, DataError) as error:
            assert str(error)


def test_bytes_on_the_line(url, caplog) -> None:
    """Heads and bodies that are no HTTP, or nearly: the connection ends or is answered, and the server goes on."""
    draw = random.Random(1)
    place = urlsplit(url)
    body = json.dumps(valid_text()).encode()
    good = (
        b"POST /v2/models/score/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Inference-Header-Content-Length: %d\r\n\r\n%s" % (len(body), len(body), body)
    )
    with caplog.at_level(logging.ERROR):
        for _ in range(60):
            sent = bytearray(good)
            for _ in range(draw.choice([1, 2, 8])):
                sent[draw.randrange(len(sent))] = draw.randrange(256)
            with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
                raw.sendall(bytes(sent))
                raw.shutdown(socket.SHUT_WR)
                answer = b""
                while part := raw.recv(65536):
                    answer += part
            assert not answer or answer[9:12] in (
                b"200",
                b"400",
                b"403",
                b"404",
                b"405",
                b"413",
                b"415",
                b"422",
            ), answer
    assert [r for r in caplog.records if r.exc_info] == []
    assert httpx.get(f"{url}/v2/health/live").status_code == 200


def valid_text() -> dict:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
