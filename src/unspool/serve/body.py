"""The body of a request, within the limits."""

from __future__ import annotations

import asyncio
import zlib

from starlette.requests import ClientDisconnect, Request

from unspool.serve.errors import RequestError
from unspool.serve.limits import Limits

_WINDOWS = {"gzip": 31, "deflate": 15}  # zlib's wbits


async def read_body(request: Request, limits: Limits) -> bytes:
    """All of it, decompressed. `RequestError` 413 too large, 408 too slow, 415 another encoding, 400 damaged."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in _WINDOWS:
        raise RequestError(415, f"The Content-Encoding must be gzip or deflate. Got {encoding!r:.40}.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.body:
        raise _too_large(limits)
    try:
        body = await asyncio.wait_for(_all(request, limits), limits.reading)
    except (asyncio.TimeoutError, TimeoutError):
        raise RequestError(408, f"The body must arrive within {limits.reading:g} seconds.") from None
    except ClientDisconnect:
        raise RequestError(400, "The client went away before its request was there.") from None
    return body if encoding == "identity" else _unpacked(body, encoding, limits)


async def _all(request: Request, limits: Limits) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.body:
            raise _too_large(limits)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpacked(body: bytes, encoding: str, limits: Limits) -> bytes:
    unpack = zlib.decompressobj(_WINDOWS[encoding])
    try:
        found = unpack.decompress(body, limits.body + 1)
    except zlib.error as error:
        raise RequestError(400, f"The body is no {encoding} data. {error}") from None
    if len(found) > limits.body:
        raise _too_large(limits)
    if not unpack.eof or unpack.unused_data:
        raise RequestError(400, f"The {encoding} data of the body is cut off, or has more behind it.")
    return found


def _too_large(limits: Limits) -> RequestError:
    return RequestError(413, f"The body may have {limits.body:,} bytes. Send several requests.")
