"""What a request is refused with: an HTTP status and one message."""

from __future__ import annotations

from unspool.errors import UnspoolError


class RequestError(UnspoolError):
    """A request that cannot be answered. status: 4xx of HTTP, or 503 while the server stops."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
