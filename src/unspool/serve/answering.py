"""From a handler to a response: errors as JSON with a status, requests counted and timed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from unspool.errors import DataError, UnspoolError
from unspool.serve.errors import RequestError
from unspool.serve.metrics import Metrics

LOG = logging.getLogger("unspool.serve")
Handler = Callable[[Request], Awaitable[Response]]


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(json.dumps(content, allow_nan=False), status, headers, "application/json")


def error_response(status: int, message: str) -> Response:
    """{"error": message}; the connection is closed where a body may be left unread."""
    headers = {"Connection": "close"} if status in (408, 413) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = "1"
    return json_response({"error": message}, status, headers)


def status_of(error: Exception) -> tuple[int, str]:
    """(HTTP status, message) of what a handler raised; 500 for what nobody foresaw, which is logged."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    if isinstance(error, DataError):
        return 422, str(error)
    if isinstance(error, UnspoolError):
        return 500, str(error)
    LOG.error("A request failed.", exc_info=error)
    return 500, "The server failed. Its log tells why."


def answered(route: str, handler: Handler, metrics: Metrics) -> Handler:
    """`handler` with its errors as responses, counted under `route`."""
    seconds = metrics.seconds.labels(route)
    fine = metrics.requests.labels(route, "200")

    async def answer(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await handler(request)
        except Exception as error:
            response = error_response(*status_of(error))
        seconds.observe(time.perf_counter() - started)
        counter = (
            fine if response.status_code == 200 else metrics.requests.labels(route, str(response.status_code))
        )
        counter.inc()
        return response

    return answer


async def http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (no such path, no such method) in our form."""
    assert isinstance(error, HTTPException)
    told = {404: f"There is no {request.url.path!r:.100} here. /docs lists what there is."}
    told[405] = f"{request.url.path!r:.100} does not take {request.method!r:.20}."
    response = error_response(error.status_code, told.get(error.status_code, error.detail))
    response.headers.update(error.headers or {})
    return response
