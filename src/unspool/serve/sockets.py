"""Streams over WebSockets: a message is a chunk, each is answered, and a broken connection can be taken up again."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from unspool.serve.answering import error_response, status_of
from unspool.serve.connection import Connection
from unspool.serve.errors import RequestError
from unspool.serve.kinds import Generator
from unspool.serve.limits import Limits
from unspool.serve.metrics import Metrics
from unspool.serve.repository import Repository, Version
from unspool.serve.rows import Rows
from unspool.serve.sessions import Session, Sessions
from unspool.serve.tensors import from_bytes, from_json, parse_json, to_json
from unspool.serve.writing import Writing

ENDED, RESTART, TAKEN = 1000, 1012, 4001  # codes of a close: stream ended; server stops; taken up elsewhere


class Sockets:
    """The open WebSockets."""

    def __init__(self, repository: Repository, sessions: Sessions, limits: Limits, metrics: Metrics) -> None:
        self.repository, self.sessions, self.limits, self.metrics = repository, sessions, limits, metrics
        self._open: set[Connection] = set()
        self._stopping = False

    @property
    def count(self) -> int:
        """Open ones."""
        return len(self._open)

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from its first to its last message."""
        try:
            version = self.repository.get(socket.path_params["model"])
            if isinstance(version.served, Generator):
                await self._write(socket, version, version.served)
                return
            connection = self._join(socket)
        except Exception as error:
            status, message = status_of(error)
            await socket.send_denial_response(error_response(status, message))
            return
        self._open.add(connection)
        try:
            await connection.run()
        except WebSocketDisconnect:
            pass
        finally:
            self._open.discard(connection)
            if connection.session.holder is connection:
                connection.session.holder = None
                if connection.session.received:
                    self.sessions.release(connection.session)
                else:  # nothing was said: there is nothing to come back to
                    await self.sessions.end(connection.session)

    async def refuse(self, socket: WebSocket) -> None:
        """404: no streams are at this path."""
        told = f"There is no stream at {socket.url.path!r:.100}. Streams are at /v2/models/MODEL/stream."
        await socket.send_denial_response(error_response(404, told))

    async def _write(self, socket: WebSocket, version: Version, served: Generator) -> None:
        """One connection to a language model."""
        if self._stopping:
            raise RequestError(503, "The server is stopping.")
        if _query(socket):
            raise RequestError(409, "A text that is written is not taken up again. Send the prompt anew.")
        async with self.repository.using(version.served.name):
            writing = Writing(socket, version, served, self.limits)
            self._open.add(writing)
            try:
                await writing.run()
            except WebSocketDisconnect:
                pass
            finally:
                self._open.discard(writing)

    def _join(self, socket: WebSocket) -> _Stream:
        """The connection with its stream, a new one or that of `?resume=TOKEN&seen=N`."""
        if self._stopping:
            raise RequestError(503, "The server is stopping.")
        asked = _query(socket)
        version = self.repository.get(socket.path_params["model"])
        if "resume" not in asked:
            session = self.sessions.open(self.sessions.new_token(), version)
            return _Stream(self, socket, session, 0)
        key = ("", asked["resume"])
        session = self.sessions.answered(key) or self.sessions.find(key)
        try:
            if session.version.served.name != version.served.name:
                raise RequestError(409, f"The stream is one of the model {session.version.served.name!r}.")
            seen = _seen(asked.get("seen", "0"), session)
        except RequestError:
            self.sessions.release(session)
            raise
        return _Stream(self, socket, session, seen)

    async def stop(self, grace: float) -> None:
        """Take no new message; answer those that were taken, and close. grace: seconds that this may take."""
        self._stopping = True
        for connection in list(self._open):
            await connection.stop(RESTART)
        end = time.monotonic() + grace
        while self._open and time.monotonic() < end:
            await asyncio.sleep(0.01)


def _query(socket: WebSocket) -> dict[str, str]:
    """`resume` and `seen`, where they are; `RequestError` 422 for anything else, which would begin a new stream."""
    given = socket.query_params.multi_items()
    asked = dict(given)
    if (
        len(asked) < len(given)
        or set(asked) - {"resume", "seen"}
        or ("seen" in asked and "resume" not in asked)
    ):
        names = ", ".join(f"{name!r:.40}" for name, _ in given[:5])
        raise RequestError(422, f"The query may be ?resume=STREAM, with &seen=N or without. Got {names}.")
    return asked


def _seen(given: str, session: Session) -> int:
    """The number of the last answer that the client has."""
    oldest = session.replies[0][0] - 1 if session.replies else session.received
    fits = given.isascii() and given.isdigit() and len(given) < 20
    if not fits or not oldest <= int(given) <= session.received:
        raise RequestError(
            409,
            f"'seen' must be the number of the last answer you have, in [{oldest}, {session.received}]. "
            f"Got {given!r:.40}. Answers before are not kept.",
        )
    return int(given)


class _Stream(Connection):
    """One WebSocket and its stream."""

    def __init__(self, sockets: Sockets, socket: WebSocket, session: Session, seen: int) -> None:
        super().__init__(socket)
        self.sockets, self.session, self.seen = sockets, session, seen
        self.before: _Stream | None = session.holder
        session.holder = self

    async def run(self) -> None:
        """Greet, send again what the client missed, then answer message by message."""
        if self.before is not None:
            await self.before.stop(TAKEN)
        await self.accept()
        async with self.session.turn:  # a step of the connection before may still be computed
            missed = [text for number, text in self.session.replies if number > self.seen]
            hello = {
                "stream": self.session.key[1],
                "model_version": self.session.version.number,
                "received": self.session.received,
                **({"ended": True} if self.session.ended else {}),
            }
        await self.send(hello)
        for text in missed:
            await self.socket.send_text(text)
        if self.session.ended:  # it is told once more how, and nothing can follow
            self.code = self.code or ENDED
        async for message in self.messages():
            await self._answer(message)

    async def _answer(self, message: Any) -> None:
        reply: dict[str, Any] = {}
        ends = False
        try:
            rows, ends = self._read(message)
            found = await self.sockets.sessions.advance(self.session, rows, ends)
            reply = {"outputs": _lists(found, self.session.version.served.kind == "tokens")}
        except Exception as error:
            status, told = status_of(error)
            reply = {"error": told, "status": status}
        session = self.session
        session.received += 1
        text = json.dumps({"step": session.received, **reply}, allow_nan=False)
        session.replies.append((session.received, text))
        while len(session.replies) > self.sockets.limits.replies:
            session.replies.popleft()
        if ends:
            await self.sockets.sessions.end(session, keep=True)
            self.code = ENDED
        await self.socket.send_text(text)

    def _read(self, message: Any) -> tuple[Rows, bool]:
        """(the chunk, which may be empty, and whether the stream ends behind it)."""
        served = self.session.version.served
        spec = served.inputs[0]
        if message.get("text") is None:
            return served.step_rows({spec.name: self._binary(message["bytes"])}), False
        document = parse_json(message["text"].encode("utf-8", "surrogatepass"), self.sockets.limits.json)
        if not isinstance(document, dict) or set(document) - {spec.name, "end"} or not document:
            raise RequestError(422, f"A message must be an object with {spec.name!r}, 'end', or both.")
        ends = document.get("end", False)
        if type(ends) is not bool:
            raise RequestError(422, "'end' must be true or false.")
        nothing: Any = "" if served.kind == "text" else []
        return served.step_rows({spec.name: self._values(document.get(spec.name, nothing))}), ends

    def _binary(self, raw: bytes) -> np.ndarray:
        """UTF-8 of a text; ids as INT64, steps as FP32, one behind the other."""
        served = self.session.version.served
        spec = served.inputs[0]
        if served.kind == "tokens":
            raise RequestError(422, 'Tokens come as JSON: {"tokens": [...]}.')
        if served.kind == "text":
            try:
                return np.array([raw.decode()], dtype=object)
            except UnicodeDecodeError:
                raise RequestError(422, "A binary message must be UTF-8 of a text.") from None
        size = (8 if spec.datatype == "INT64" else 4) * int(np.prod(spec.shape[2:], dtype=int))
        shape = (len(raw) // size, *spec.shape[2:])
        return from_bytes(spec.name, spec.datatype, shape, memoryview(raw))

    def _values(self, value: Any) -> np.ndarray:
        """A text, a list of ids, or steps: a list of lists, of one number each also without the inner lists."""
        served = self.session.version.served
        spec = served.inputs[0]
        if served.kind == "text":
            return from_json(spec.name, "BYTES", (1,), [value])
        if not isinstance(value, list):
            raise RequestError(422, f"{spec.name!r} must be a list of steps.")
        tail = spec.shape[2:]
        nested = [v for v in value if isinstance(v, list)]
        if any(len(v) != tail[0] for v in nested) if tail else nested:
            raise RequestError(422, f"Each step of {spec.name!r} must hold {tail[0] if tail else 1} numbers.")
        if served.kind == "tokens":
            return from_json(spec.name, "BYTES", (len(value),), value)
        return from_json(spec.name, "INT64" if not tail else "FP64", (len(value), *tail), value)


def _lists(outputs: dict[str, np.ndarray], steps: bool) -> dict[str, Any]:
    """Of one sequence: name -> its value, or the list of them; steps: they are the answers of several steps."""
    if steps:
        return {"tags": to_json(outputs["tags"])}
    return {name: to_json(a)[0] if a.ndim == 1 else to_json(a) for name, a in outputs.items()}
