"""The HTTP surface, without a network: requests with changed bodies, headers and paths. 5xx is a fault."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import DataError
from unspool.serve import Service

from .models import SERIES, TEXTS, TINY, Y
from .mutations import HUGE, changed_bytes, changed_json


def target(folder: Path) -> Callable[[random.Random], None]:
    small = {**TINY, "embedding_dim": 4, "bidirectional": False}
    SequenceClassifier(**small, blend=False).fit(TEXTS, Y > 0).save(folder / "mood")
    SequenceRegressor(**TINY, bidirectional=False, pooling="last").fit(SERIES, Y[:6]).save(folder / "wave")
    app = Service({"mood": folder / "mood", "wave": folder / "wave"}).app
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    client.__enter__()
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
