"""A WebSocket whose messages are answered one by one, and which closes behind the answer that is going on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from unspool.serve.guard import PROTOCOL


class Connection:
    """busy: whether a message is being answered. code: of the close that is asked for; 0: none is."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.busy, self.code = True, 0

    async def accept(self) -> None:
        """Take the connection."""
        offered = self.socket.scope.get("subprotocols", [])
        await self.socket.accept(PROTOCOL if PROTOCOL in offered else None)

    async def send(self, reply: dict[str, Any]) -> None:
        """An object as JSON."""
        await self.socket.send_text(json.dumps(reply))

    async def messages(self) -> AsyncIterator[Any]:
        """Each as it comes, until the client goes or a close is asked for, which is then made."""
        while not self.code:
            self.busy = False
            message = await self.socket.receive()
            self.busy = True
            if message["type"] == "websocket.disconnect":
                return
            yield message
        await self._close()

    async def stop(self, code: int) -> None:
        """Close, at once where nothing is being computed, else behind its answer."""
        self.code = self.code or code
        if not self.busy:
            await self._close()

    async def _close(self) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):  # it may be closed already
            await self.socket.close(self.code)
