"""New versions of a model while streams are open, and a stop that finishes what was taken."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
import torch
from tests.serve.conftest import running
from tests.serve.raw import Client
from tests.serve.test_sockets import wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import unspool
from unspool.serve import Service

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["the good day"]}


@pytest.fixture
def place(models, tmp_path):
    """A copy of the model of scores, and one with other weights."""
    shutil.copytree(models["score"], tmp_path / "score")
    other = unspool.load(models["score"])
    with torch.no_grad():
        for weight in other.network_.parameters():
            weight.mul_(0.5)
    return tmp_path / "score", other


def test_open_streams_go_on_with_the_version_they_began_with(place, loaded) -> None:
    path, other = place
    service = Service({"score": path}, token=TOKEN)
    with running(service) as url, httpx.Client(headers=BEARER) as client:

        def say(text: str, **flags: bool) -> list[float]:
            one = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
            parameters = {"sequence_id": 7, **{f"sequence_{k}": v for k, v in flags.items()}}
            found = client.post(
                f"{url}/v2/models/score/infer", json={"inputs": [one], "parameters": parameters}
            )
            assert found.status_code == 200, found.text
            versions.append(found.json()["model_version"])
            return found.json()["outputs"][0]["data"]

        versions: list[str] = []
        say("the good ", start=True)
        other.save(path)
        assert client.post(f"{url}/v2/repository/models/score/load", json={}).status_code == 200
        fresh = client.post(f"{url}/v2/models/score/infer", json={"inputs": [TEXT]}).json()
        assert fresh["model_version"] == "2"
        np.testing.assert_allclose(fresh["outputs"][0]["data"], other.predict(["the good day"]), rtol=1e-6)
        last = say("day", end=True)
        assert versions == ["1", "1"]
        np.testing.assert_allclose(last, loaded["score"].predict(["the good day"]), rtol=1e-5)
        wait_for(lambda: len(service.repository.versions()) == 1)
        say("the good day", start=True, end=True)
        assert versions[-1] == "2"
        assert client.get(f"{url}/v2/models/score/versions/1").status_code == 404


def test_a_damaged_model_leaves_the_old_one(place, loaded) -> None:
    path, _ = place
    with running(Service({"score": path}, token=TOKEN)) as url, httpx.Client(headers=BEARER) as client:
        (path / "model.json").write_text("{")
        refused = client.post(f"{url}/v2/repository/models/score/load")
        assert refused.status_code == 500 and "Cannot load" in refused.json()["error"]
        found = client.post(f"{url}/v2/models/score/infer", json={"inputs": [TEXT]}).json()
        assert found["model_version"] == "1"


def test_loading_needs_the_token(url) -> None:
    found = httpx.post(f"{url}/v2/repository/models/score/load")
    assert found.status_code == 403 and "SIGHUP" in found.json()["error"]


def test_requests_while_models_come_and_go(place, loaded) -> None:
    """Every answer is one of the two versions', and none is lost."""
    path, other = place
    expected = [loaded["score"].predict(["the good day"])[0], other.predict(["the good day"])[0]]

    async def ask(url: str, stop: threading.Event) -> list[float]:
        found = []
        async with Client(url, token=TOKEN) as client:
            while not stop.is_set():
                status, answer = await client.post("/v2/models/score/infer", {"inputs": [TEXT]})
                assert status == 200, answer
                found.append(answer["outputs"][0]["data"][0])
        return found

    async def scenario(url: str) -> list[list[float]]:
        stop = threading.Event()
        tasks = [asyncio.create_task(ask(url, stop)) for _ in range(4)]
        async with httpx.AsyncClient(headers=BEARER) as client:
            for k in range(4):
                await asyncio.to_thread((other if k % 2 == 0 else loaded["score"]).save, path)
                assert (await client.post(f"{url}/v2/repository/models/score/load")).status_code == 200
        stop.set()
        return await asyncio.gather(*tasks)

    service = Service({"score": path}, token=TOKEN)
    with running(service) as url:
        found = np.concatenate(asyncio.run(scenario(url)))
        assert len(service.repository.versions()) == 1
    near = [np.isclose(found, e, rtol=1e-5) for e in expected]
    assert (near[0] | near[1]).all() and near[0].any() and near[1].any()


def test_the_process(place, loaded) -> None:
    """SIGHUP loads anew; SIGTERM answers the request that waits, closes the WebSocket, and ends with 0."""
    path, other = place
    command = [sys.executable, "-m", "unspool", "serve", f"mine={path}", "--port", "0", "--delay", "90000"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            assert lines[0].startswith("mine: texts by word") and lines[1].startswith(
                "Listening at http://127.0.0.1:"
            )
            url = lines[1].split()[2]
            other.save(path)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: httpx.get(f"{url}/health").json()["models"] == {"mine": "2"})
            answer: list[httpx.Response] = []

            def ask() -> None:
                answer.append(httpx.post(f"{url}/v2/models/mine/infer", json={"inputs": [TEXT]}, timeout=60))

            with connect(f"ws{url.removeprefix('http')}/v2/models/mine/stream", proxy=None) as socket:
                json.loads(socket.recv(10))
                thread = threading.Thread(target=ask)
                thread.start()
                wait_for(lambda: httpx.get(f"{url}/health").json()["waiting"] == 1)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(10)
                assert closed.value.rcvd.code == 1012
            thread.join(60)
            found = answer[0].json()["outputs"][0]["data"]
            np.testing.assert_allclose(found, other.predict(["the good day"]), rtol=1e-6)
            assert process.wait(60) == 0
            assert process.stdout.read() == "Stopped.\n"
            assert process.stderr.read() == "Model 'mine': version 2.\n"
        finally:
            process.kill()


def test_a_stop_answers_the_step_that_is_being_computed(models, monkeypatch) -> None:
    from unspool.serve.server import Server

    service = Service({"score": models["score"]})
    streams = service.repository.get("score").streams
    begun, go = threading.Event(), threading.Event()
    push = streams.pool.push

    def slow(*arguments):
        begun.set()
        assert go.wait(20)
        return push(*arguments)

    monkeypatch.setattr(streams.pool, "push", slow)
    ready = threading.Event()
    server = Server(service, "127.0.0.1", 0, lambda _: ready.set())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert ready.wait(20)
    with connect(f"ws{server.url[4:]}/v2/models/score/stream", proxy=None) as socket:
        socket.recv(10)
        socket.send(json.dumps({"text": "good "}))
        assert begun.wait(20)
        server.stop()
        wait_for(lambda: service.sockets._stopping)
        for _ in range(30):  # it waits for the step
            assert not server.should_exit
            time.sleep(0.01)
        go.set()
        assert json.loads(socket.recv(10))["step"] == 1
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd.code == 1012
    thread.join(20)
    assert not thread.is_alive()
