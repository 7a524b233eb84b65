"""The text of one continuation as its tokens come: whole characters only, and nothing from a stop text on."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from unspool.errors import bad_parameter
from unspool.generation.vocabulary import END_ID, Vocabulary


class Writer:
    """Takes tokens, gives text.

    stops: the text ends before the first of these; what may be the beginning of one is held back.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str] = ()) -> None:
        self.bytes, self.stops = vocabulary.bytes, stops
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.held, self.done = "", False
        self.pieces: list[str] = []

    def push(self, token: int) -> str:
        """The text that is certain now; `done` where this token ended it."""
        if token == END_ID:
            return self.finish()
        text = self.decoder.decode(self.bytes[token])
        if self.stops:
            return self._release(text)
        self.pieces.append(text)
        return text

    def finish(self) -> str:
        """What was held back: no more tokens come."""
        if self.done:
            return ""
        piece = self._release(self.decoder.decode(b"", final=True))
        if not self.done:
            piece, self.held, self.done = piece + self.held, "", True
            self.pieces.append(piece)
        return piece

    @property
    def text(self) -> str:
        """All that was given."""
        return "".join(self.pieces)

    def _release(self, more: str) -> str:
        text = self.held + more
        found = [at for at in (text.find(stop) for stop in self.stops) if at >= 0]
        if found:
            piece, self.held, self.done = text[: min(found)], "", True
        else:
            cut = len(text) - max((_overlap(text, stop) for stop in self.stops), default=0)
            piece, self.held = text[:cut], text[cut:]
        self.pieces.append(piece)
        return piece


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` a `stop` could begin with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def read_stops(owner: str, stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The texts of a `stop` parameter."""
    stops = () if stop is None else (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, (tuple, list)) or not all(isinstance(s, str) and s for s in stops):
        bad_parameter(owner, "stop", "a text that is not empty, or a list of such", stop)
    return tuple(stops)
