"""The handlers of the REST interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from unspool import __version__
from unspool.serve import invocations
from unspool.serve.answering import json_response
from unspool.serve.body import read_body
from unspool.serve.drawing import activity
from unspool.serve.errors import RequestError
from unspool.serve.guard import is_loopback
from unspool.serve.limits import Limits
from unspool.serve.metrics import Metrics
from unspool.serve.protocol import HEADER, InferRequest, parse_infer, response_body
from unspool.serve.repository import Repository, Version
from unspool.serve.sessions import Sessions
from unspool.serve.tensors import parse_json

EXTENSIONS = ["binary_tensor_data", "sequence", "model_configuration", "model_repository"]
_SMALL = 32_768  # bytes: a smaller body is read in the event loop, a larger one in a thread
_CONFIG = {"BYTES": "TYPE_STRING"}


class Handlers:
    """What each path does. sessions: the open streams. token: whether the server has one."""

    def __init__(
        self, repository: Repository, sessions: Sessions, limits: Limits, metrics: Metrics, token: bool
    ) -> None:
        self.repository, self.sessions, self.limits, self.metrics = repository, sessions, limits, metrics
        self.token = token

    def _version(self, request: Request) -> Version:
        return self.repository.get(request.path_params["model"], request.path_params.get("version"))

    async def server(self, request: Request) -> Response:
        """Name, version and extensions."""
        return json_response({"name": "unspool", "version": __version__, "extensions": EXTENSIONS})

    async def live(self, request: Request) -> Response:
        """200 while the server runs."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """200: the models are loaded before the first request."""
        return json_response({"ready": True})

    async def health(self, request: Request) -> Response:
        """200, and how much is going on."""
        return json_response(
            {
                "status": "ok",
                "models": {name: self.repository.get(name).number for name in self.repository.names()},
                "streams": self.sessions.count,
                "waiting": sum(version.batcher.rows for version in self.repository.versions()),
            }
        )

    async def show_metrics(self, request: Request) -> Response:
        """Prometheus' text."""
        return Response(self.metrics.text(), media_type=self.metrics.content_type)

    async def model_metadata(self, request: Request) -> Response:
        """Tensors in and out."""
        return json_response(self._version(request).metadata())

    async def model_ready(self, request: Request) -> Response:
        """200 for a model that is there."""
        version = self._version(request)
        return json_response({"name": version.served.name, "ready": True})

    async def model_config(self, request: Request) -> Response:
        """As Triton's model configuration extension has it."""
        version = self._version(request)
        served = version.served

        def tensors(specs: Any) -> list[dict[str, Any]]:
            kind = {spec.name: _CONFIG.get(spec.datatype, f"TYPE_{spec.datatype}") for spec in specs}
            return [{"name": s.name, "data_type": kind[s.name], "dims": list(s.shape)} for s in specs]

        config = {
            "name": served.name,
            "platform": "unspool",
            "backend": "unspool",
            "max_batch_size": 0,
            "input": tensors(served.inputs),
            "output": tensors(served.outputs),
        }
        if version.streams is not None:
            idle = int(self.limits.idle * 1e6)
            config["sequence_batching"] = {"max_sequence_idle_microseconds": idle}
        return json_response(config)

    async def index(self, request: Request) -> Response:
        """The models; of Triton's model repository extension."""
        body = await read_body(request, self.limits)
        asked = parse_json(body, self.limits.json) if body.strip() else {}
        if (
            not isinstance(asked, dict)
            or set(asked) - {"ready"}
            or asked.get("ready", True) not in (True, False)
        ):
            raise RequestError(400, "The body must be empty, or an object with 'ready'.")
        found = [self.repository.get(name) for name in self.repository.names()]
        return json_response(
            [{"name": v.served.name, "version": v.number, "state": "READY", "reason": ""} for v in found]
        )

    async def load(self, request: Request) -> Response:
        """Read a model anew; for bearers of the token on this machine."""
        peer = request.client.host if request.client else None
        if not self.token or not is_loopback(peer):
            raise RequestError(
                403,
                "Models are loaded anew from this machine with the server's token. Start it with --token, or send "
                "the process SIGHUP.",
            )
        body = await read_body(request, self.limits)
        asked = parse_json(body, self.limits.json) if body.strip() else {}
        if asked not in ({}, {"parameters": {}}):
            raise RequestError(422, "A model is loaded from where it was: the body must be empty or {}.")
        await self.repository.reload(request.path_params["model"])
        return json_response({})

    async def infer(self, request: Request) -> Response:
        """The outputs for the sequences of a request, or for the next steps of a stream."""
        body = await read_body(request, self.limits)
        path = request.path_params
        async with self.repository.using(path["model"], path.get("version")) as version:
            asked: InferRequest = await self._aside(
                len(body),
                parse_infer,
                body,
                request.headers.get(HEADER),
                self.limits.json,
                version.served.options,
            )
            options = version.served.checked(asked.options)
            _check_outputs(version, asked, options)
            if asked.sequence is not None:
                number, outputs = await self.sessions.step(version, asked)
            else:
                rows = await self._aside(len(body), version.served.rows, asked.inputs)
                rows.options = options
                number, outputs = version.number, await version.batcher.submit(rows)
        size = sum(a.nbytes for a in outputs.values())
        content, header = await self._aside(size, response_body, path["model"], number, asked, outputs)
        if header is None:
            return Response(content, media_type="application/json")
        return Response(content, 200, {HEADER: str(header)}, "application/octet-stream")

    async def invocations(self, request: Request) -> Response:
        """MLflow's payloads."""
        names = self.repository.names()
        name = request.query_params.get("model", names[0] if len(names) == 1 else None)
        if name is None:
            raise RequestError(
                422, f"Say which model: /invocations?model=NAME with one of {', '.join(names)}."
            )
        body = await read_body(request, self.limits)
        kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
        async with self.repository.using(name) as version:
            served = version.served
            rows = await self._aside(len(body), invocations.rows_of, served, body, kind, self.limits.json)
            outputs = await version.batcher.submit(rows)
            size = sum(a.nbytes for a in outputs.values())
            found = await self._aside(size, served.predictions, outputs)
        return json_response({"predictions": found})

    async def draw(self, request: Request) -> Response:
        """What gates and states do over one sequence."""
        body = await read_body(request, self.limits)
        asked = await self._aside(len(body), parse_json, body, self.limits.json)
        async with self.repository.using(request.path_params["model"]) as version:
            found = await version.batcher.call(activity, version.served, asked, self.limits)
        return json_response(found)

    async def _aside(self, size: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(*arguments), in a thread where it has more than a little to do."""
        if size < _SMALL:
            return function(*arguments)
        return await asyncio.to_thread(function, *arguments)


def _check_outputs(version: Version, asked: InferRequest, options: dict[str, Any]) -> None:
    """422 for an output that the model has not, before anything is computed."""
    names = [spec.name for spec in version.served.outputs_of(options)]
    for name in asked.outputs:
        if name not in names:
            raise RequestError(
                422, f"There is no output {name!r:.60}. There is {', '.join(map(repr, names))}."
            )
