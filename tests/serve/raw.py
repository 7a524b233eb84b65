"""A client that costs little, for many requests at a time."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit


class Client:
    """One kept connection to the server at `url`."""

    def __init__(self, url: str, token: str = "") -> None:
        self.more = f"Authorization: Bearer {token}\r\n" if token else ""
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """(status, the answer's JSON)."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{self.more}Content-Length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)
        status = int((await self.reader.readline()).split()[1])
        size = 0
        while (line := await self.reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            size = int(value) if name.lower() == "content-length" else size
        return status, json.loads(await self.reader.readexactly(size))
