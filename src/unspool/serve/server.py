"""The process: it listens, loads models anew on SIGHUP, and on SIGTERM or Ctrl-C finishes what it took."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from unspool.errors import UnspoolError
from unspool.serve.app import Service
from unspool.serve.guard import check_token

LOG = logging.getLogger("unspool.serve")
REFUSED = (
    "ASGI callable returned without completing handshake."  # what uvicorn logs of each refused WebSocket
)
NO_TEXT = "Invalid UTF-8 sequence received from client."  # of a WebSocket's message, with a traceback
GRACE = 30  # seconds that what was taken may still need when the server stops


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; `OSError` where that cannot be. Port 0: any free one."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(2048)
    except OSError as error:
        found.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return found


def serve(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer until a signal comes: SIGTERM or SIGINT finishes what was taken and returns, a second one does not wait;
    SIGHUP loads all models anew. ready(url) is called once it listens.

    Raises `InvalidParameterError` for a host that needs a token, `OSError` for an address that cannot be had.
    """
    Server(service, host, port, ready).run()


class Server(uvicorn.Server):
    """uvicorn's, which tells WebSockets first, and ends without a signal of its own. Arguments: as of `serve`."""

    def __init__(
        self, service: Service, host: str, port: int, ready: Callable[[str], None] = lambda url: None
    ) -> None:
        check_token(service.token, host)
        self.service, self._ready = service, ready
        self._socket = listen(host, port)
        name, used = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{used}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._stops = False
        logging.getLogger("uvicorn.error").addFilter(_worth_telling)
        super().__init__(
            uvicorn.Config(
                service.app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                http=_within(service.limits.reading),
                ws="websockets-sansio",
                ws_max_size=service.limits.body,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=GRACE,
                timeout_keep_alive=30,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until a signal comes, or `stop`."""
        super().run([self._socket])

    def stop(self) -> None:
        """From any thread: finish what was taken, then return from `run`; called again, do not wait."""
        if self._loop is None or self._stops:
            self.should_exit = self.force_exit = True
        else:
            self._stops = True
            self._loop.call_soon_threadsafe(self._start, self._stop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
            self._loop.add_signal_handler(signal.SIGHUP, self._start, self._reload)
        self._ready(self.url)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        self.stop()

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.ensure_future(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop(self) -> None:
        for version in self.service.repository.versions():
            version.batcher.hurry()
        await self.service.sockets.stop(GRACE)
        self.should_exit = True

    async def _reload(self) -> None:
        for name in self.service.repository.names():
            try:
                version = await self.service.repository.reload(name)
                LOG.warning("Model %r: version %s.", name, version.number)
            except UnspoolError as error:
                LOG.error("Model %r stays as it is. %s", name, error)


def _within(seconds: float) -> type[asyncio.Protocol]:
    """HTTP by h11, which bounds the headers, with httptools installed too: that one reads on for as long as they come.
    A connection whose client does not get a request's headers over in time is closed."""

    class Protocol(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()

        def _wait(self) -> None:
            """Time runs while no request is being answered, and not on what has become a WebSocket."""
            if self.transport.get_protocol() is not self or (self.cycle and not self.cycle.response_complete):
                self._forget()
            elif self.late is None:
                self.late = self.loop.call_later(seconds, self._close)

        def _forget(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

        def _close(self) -> None:
            self.late = None
            self.transport.close()

    return Protocol


def _worth_telling(record: logging.LogRecord) -> bool:
    if record.msg == NO_TEXT:
        record.exc_info = None
    return record.msg != REFUSED
