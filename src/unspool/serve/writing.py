"""A WebSocket of a language model: a prompt in, the text that goes on from it piece by piece out."""

from __future__ import annotations

from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from unspool.serve.answering import status_of
from unspool.serve.connection import Connection
from unspool.serve.errors import RequestError
from unspool.serve.kinds import Generator
from unspool.serve.limits import Limits
from unspool.serve.repository import Version
from unspool.serve.tensors import from_json, parse_json


class Writing(Connection):
    """One connection. Each message {"prompt": ..., and parameters of `SequenceGenerator.stream`} is answered by
    {"step": n, "piece": ...} as the pieces come, and {"step": n, "outputs": {"text": ...}} behind the last.

    What is written follows from the message alone, so a broken connection has nothing to be taken up.
    """

    def __init__(self, socket: WebSocket, version: Version, served: Generator, limits: Limits) -> None:
        super().__init__(socket)
        self.version, self.served, self.limits = version, served, limits

    async def run(self) -> None:
        """Answer message by message."""
        await self.accept()
        await self.send({"model_version": self.version.number})
        step = 0
        async for message in self.messages():
            step += 1
            try:
                await self._answer(step, message)
            except WebSocketDisconnect:
                return
            except Exception as error:
                status, told = status_of(error)
                await self.send({"step": step, "error": told, "status": status})

    async def _answer(self, step: int, message: Any) -> None:
        given = parse_json((message.get("text") or "").encode("utf-8", "surrogatepass"), self.limits.json)
        if not isinstance(given, dict) or "prompt" not in given:
            raise RequestError(422, "A message must be an object with 'prompt', and may have parameters.")
        (prompt,) = from_json("prompt", "BYTES", (1,), [given.pop("prompt")]).tolist()
        if len(prompt) > self.limits.steps:
            raise RequestError(
                413, f"A prompt may have {self.limits.steps:,} characters. Got {len(prompt):,}."
            )
        thread = self.version.batcher.call  # between other requests, piece by piece
        pieces = await thread(self.served.pieces, prompt, given)
        text = ""
        while (piece := await thread(next, pieces, None)) is not None:
            text += piece
            await self.send({"step": step, "piece": piece})
        await self.send({"step": step, "outputs": {"text": text}})
