"""The HTTP surface, without a network: requests with changed bodies, headers and paths. 5xx is a fault."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from importing.conftest import read_here
from importing.reference import several, write_h5
from starlette.testclient import TestClient

from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError
from unspool.importing import from_keras, hdf5
from unspool.serve import Limits, Service, examples
from unspool.serve.kinds import served_of

from .models import SERIES, TEXTS, TINY, Y, made
from .mutations import HUGE, changed_bytes, changed_json


def target(folder: Path) -> Callable[[random.Random], None]:
    small = {**TINY, "embedding_dim": 4, "bidirectional": False}
    SequenceClassifier(**small, blend=False).fit(TEXTS, Y > 0).save(folder / "mood")
    SequenceRegressor(**TINY, bidirectional=False, pooling="last").fit(SERIES, Y[:6]).save(folder / "wave")
    texts = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good day", "awful"]}
    series = {
        "name": "series",
        "datatype": "FP32",
        "shape": [1, 3, 2],
        "data": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    }
    chunk = {"sequence_id": 7, "sequence_start": True, "sequence_end": False}
    requests: list[tuple[str, Any]] = [
        ("/v2/models/mood/infer", {"id": "1", "inputs": [texts], "outputs": [{"name": "prediction"}]}),
        ("/v2/models/wave/infer", {"inputs": [series]}),
        ("/v2/models/wave/infer", {"inputs": [series], "parameters": chunk}),
        ("/invocations", {"inputs": ["good day"]}),
        ("/invocations", {"dataframe_split": {"columns": ["text"], "data": [["good day"]]}}),
        ("/v2/models/wave/activity", {"inputs": [series]}),
        ("/v2/repository/index", {"ready": True}),
    ]

    return _asked(Service({"mood": folder / "mood", "wave": folder / "wave"}), requests)


def others(folder: Path) -> Callable[[random.Random], None]:
    """Taggers, texts to texts, texts that go on and forecasts: infer, with parameters, MLflow's payloads, attention."""
    models = made()
    params: dict[str, dict[str, Any]] = {
        "tagger": {},
        "seq2seq": {},
        "generator": {
            "max_new_tokens": 3, "temperature": 0.7, "top_k": 2, "top_p": 0.9, "stop": ["x"], "random_state": 1,
            "do_sample": True, "repetition_penalty": 1.1, "num_beams": 1,
        },
        "forecaster": {"h": 2, "level": [80]},
    }  # fmt: skip
    requests: list[tuple[str, Any]] = [("/v2/models/seq2seq/activity", {"sequence": "ab"})]
    for name, own in params.items():
        models[name][0].save(folder / name)
        served = served_of(name, models[name][0], Limits())
        infer = {"inputs": examples.inputs_of(served), "parameters": own}
        payload = {**examples.payload_of(served), "params": own}
        requests += [(f"/v2/models/{name}/infer", infer), (f"/invocations?model={name}", payload)]
    requests += _imported(folder / "imported")
    return _asked(Service({name: folder / name for name in (*params, "imported")}), requests)


def _imported(folder: Path) -> list[tuple[str, Any]]:
    """A network of several inputs and outputs in the folder, and requests to it."""
    with mock.patch.object(hdf5, "read", read_here):
        model = from_keras(write_h5(several()["merges"], folder.with_suffix(".h5")))
    model.save(folder)
    served = served_of("imported", model, Limits())
    infer, payload = {"inputs": examples.inputs_of(served)}, examples.payload_of(served)
    return [("/v2/models/imported/infer", infer), ("/invocations?model=imported", payload)] * 2


def _asked(service: Service, requests: list[tuple[str, Any]]) -> Callable[[random.Random], None]:
    client = TestClient(service.app, "http://localhost", raise_server_exceptions=False)
    client.__enter__()

    def case(rng: random.Random) -> None:
        path, body = rng.choice(requests)
        text = json.dumps(changed_json(body, rng) if rng.random() < 0.8 else body).replace(
            f'"{HUGE}"', "1e999"
        )
        data = text.encode() if rng.random() < 0.7 else changed_bytes(text.encode(), rng)
        headers = {"content-type": "application/json"}
        if rng.random() < 0.2:
            length = rng.choice(["-1", "0", str(len(data)), str(len(data) - 9), "9" * 30, "x"])
            headers["Inference-Header-Content-Length"] = length
        answer = client.post(path, content=data, headers=headers)
        if answer.status_code >= 500:
            raise AssertionError(f"{answer.status_code} {answer.text[:100]}")
        if answer.status_code >= 400:
            raise DataError(answer.text)

    case.close = lambda: client.__exit__(None, None, None)  # type: ignore[attr-defined]
    return case
