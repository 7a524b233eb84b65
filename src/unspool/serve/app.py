"""The ASGI application: which path is answered by what."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from unspool.serve.answering import answered, error_response, http_error
from unspool.serve.errors import RequestError
from unspool.serve.guard import Guard
from unspool.serve.handlers import Handlers
from unspool.serve.limits import Limits
from unspool.serve.metrics import Metrics
from unspool.serve.pages import Pages
from unspool.serve.repository import Repository
from unspool.serve.sessions import Sessions
from unspool.serve.sockets import Sockets

#: Paths without a token: whether the server is there, and the page, which asks for the token.
OPEN = ("/", "/ping", "/v2/health/live", "/v2/health/ready")


class Service:
    """A server's parts. app: the ASGI application."""

    def __init__(
        self,
        paths: Mapping[str, Path],
        limits: Limits | None = None,
        token: str | None = None,
        weights: str = "float32",
    ) -> None:
        """Loads the models, by name; raises as `unspool.load`, and `DataError` for one that cannot be served.

        token: what each request must bear. weights: their form while predicting, as of `freeze`.
        """
        self.limits, self.metrics, self.token = limits or Limits(), Metrics(), token
        self.repository = Repository(paths, weights, self.limits, self.metrics)
        self.sessions = Sessions(self.repository, self.limits, self.metrics)
        self.sockets = Sockets(self.repository, self.sessions, self.limits, self.metrics)
        handlers = Handlers(self.repository, self.sessions, self.limits, self.metrics, token is not None)
        pages = Pages(self.repository, token is not None)
        self.metrics.watch("unspool_sessions", "Open streams.", lambda: self.sessions.count)
        self.metrics.watch("unspool_websockets", "Open WebSockets.", lambda: self.sockets.count)
        self.metrics.watch("unspool_waiting_sequences", "Sequences that wait.", self._waiting)
        routes: list[BaseRoute] = [
            Route(path, answered(path, handler, self.metrics), methods=[method])
            for method, path, handler in _table(handlers, pages)
        ]
        routes.append(WebSocketRoute("/v2/models/{model}/stream", self.sockets.serve))
        routes.append(WebSocketRoute("/{path:path}", self.sockets.refuse))
        inner = Starlette(
            routes=routes, exception_handlers={HTTPException: http_error}, lifespan=self._lifespan
        )
        inner.router.redirect_slashes = False
        self.app: ASGIApp = _Guarded(inner, Guard(token))

    def _waiting(self) -> float:
        return sum(version.batcher.rows for version in self.repository.versions())

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        async with self.sessions.reaping():
            yield
        await self.repository.close()


def _table(h: Handlers, pages: Pages) -> list[tuple[str, str, Any]]:
    own = [
        ("GET", "/", pages.try_it),
        ("GET", "/docs", pages.docs),
        ("GET", "/openapi.json", pages.openapi),
        ("GET", "/health", h.health),
        ("GET", "/ping", h.live),
        ("GET", "/metrics", h.show_metrics),
        ("POST", "/invocations", h.invocations),
        ("GET", "/v2", h.server),
        ("GET", "/v2/health/live", h.live),
        ("GET", "/v2/health/ready", h.ready),
        ("POST", "/v2/repository/index", h.index),
        ("POST", "/v2/repository/models/{model}/load", h.load),
        ("POST", "/v2/models/{model}/activity", h.draw),
    ]
    of_model = [
        ("GET", "", h.model_metadata),
        ("GET", "/ready", h.model_ready),
        ("GET", "/config", h.model_config),
        ("POST", "/infer", h.infer),
    ]
    for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        own += [(method, prefix + path, handler) for method, path, handler in of_model]
    return sorted(own, key=lambda route: not route[1].endswith("/infer"))  # routes are tried in order


class _Guarded:
    """Lets through what the guard lets through."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app, self.guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = _of_origin(scope)
            try:
                self.guard.check(Headers(scope=scope), scope["path"] in OPEN and scope["type"] == "http")
            except RequestError as error:
                await _refuse(error, scope, receive, send)
                return
        await self.app(scope, receive, send)


def _of_origin(scope: Scope) -> Scope:
    """A request for a whole address, as a proxy gets it, as one for the path and the host in it (RFC 9112, 3.2.2)."""
    if not scope["path"].startswith(("http://", "https://")):
        return scope
    host, slash, path = scope["path"].split("//", 1)[1].partition("/")
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    headers.append((b"host", host.encode("latin-1", "replace")))
    return {**scope, "path": slash + path or "/", "raw_path": None, "headers": headers}


async def _refuse(error: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await error_response(error.status, str(error))(scope, receive, send)
        return
    response = error_response(error.status, str(error))
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})
        return
    await send(
        {"type": "websocket.http.response.start", "status": error.status, "headers": response.raw_headers}
    )
    await send({"type": "websocket.http.response.body", "body": response.body})
