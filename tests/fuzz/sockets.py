"""WebSockets, without a network: a language model that writes, and streams of steps; messages and queries changed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from unspool import SequenceRegressor
from unspool.errors import DataError
from unspool.serve import Service

from .models import SERIES, TINY, Y, made
from .mutations import HUGE, changed_bytes, changed_json, junk

WRITES = {
    "prompt": "the cat", "max_new_tokens": 3, "temperature": 0.7, "top_k": 2, "top_p": 0.9, "stop": ["x"],
    "random_state": 1, "do_sample": True, "repetition_penalty": 1.1,
}  # fmt: skip
MESSAGES: dict[str, list[Any]] = {
    "generator": [WRITES, {"prompt": ""}],
    "wave": [{"series": [[0.0, 1.0], [2.0, 3.0]], "end": False}, {"series": [], "end": True}],
    "tagger": [{"tokens": ["a", "b"]}, {"tokens": ["a"], "end": True}],
}


def target(folder: Path) -> Callable[[random.Random], None]:
    models = made()
    for name in ("generator", "tagger"):
        models[name][0].save(folder / name)
    SequenceRegressor(**TINY, bidirectional=False, pooling="last").fit(SERIES, Y[:6]).save(folder / "wave")
    client = TestClient(
        Service({name: folder / name for name in MESSAGES}).app,
        "http://localhost",
        raise_server_exceptions=False,
    )
    client.__enter__()

    def case(rng: random.Random) -> None:
        name = rng.choice([*MESSAGES, "generator"])
        query = (
            ""
            if rng.random() < 0.9
            else f"?{rng.choice(['resume', 'seen'])}={quote(str(junk(rng)), errors='replace')}"
        )
        refused = []
        try:
            with client.websocket_connect(f"ws://localhost/v2/models/{name}/stream{query}"[:2000]) as socket:
                socket.receive_json()
                for _ in range(rng.choice([1, 2, 3])):
                    _send(socket, name, rng)
                    answer = socket.receive_json()
                    while "piece" in answer:
                        answer = socket.receive_json()
                    _check(answer, refused)
        except WebSocketDenialResponse as denied:
            if denied.status_code >= 500:
                raise AssertionError(f"{denied.status_code} {denied.text[:100]}") from denied
            raise DataError(denied.text) from denied
        except WebSocketDisconnect as end:
            if end.code != 1000:
                raise AssertionError(f"closed by {end.code}") from end
        if refused:
            raise DataError(refused[0])

    case.close = lambda: client.__exit__(None, None, None)  # type: ignore[attr-defined]
    return case


def _send(socket: Any, name: str, rng: random.Random) -> None:
    message = rng.choice(MESSAGES[name])
    text = json.dumps(changed_json(message, rng) if rng.random() < 0.7 else message).replace(
        f'"{HUGE}"', "1e999"
    )
    kind = rng.random()
    if kind < 0.8:
        socket.send_text(text)
    elif kind < 0.9:
        socket.send_text(changed_bytes(text.encode(), rng).decode(errors="replace"))
    else:
        socket.send_bytes(changed_bytes(text.encode(), rng))


def _check(answer: dict[str, Any], refused: list[str]) -> None:
    if answer.get("status", 0) >= 500:
        raise AssertionError(f"{answer['status']} {answer['error'][:100]}")
    if "error" in answer:
        refused.append(answer["error"])
