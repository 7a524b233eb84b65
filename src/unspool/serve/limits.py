"""What one server takes at most."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from unspool.errors import bad_parameter


@dataclass(frozen=True)
class Limits:
    """What a server takes at most; beyond it a request gets 413 or 429 with a message.

    body: bytes of a request, after decompression (413). json: bytes of JSON in it, which one thread of Python reads
    while all others wait; the rest is binary (413). rows: sequences of a request (413). steps: steps of a sequence,
    characters of a text (413). queue: sequences that wait for a model (429). sessions: streams that are open at a
    time, of all models (429). idle: seconds after which a stream that nobody is connected to is forgotten (409).
    pending: steps of one stream that wait (429; a WebSocket is not read on instead). replies: answers of a stream
    that are kept for a client that comes back; kept: seconds for which they are once it has ended. batch: sequences
    that are computed together. delay: seconds that a request waits for others while the model is idle. reading: seconds
    that the body of a request may take (408). drawn: steps of a sequence whose gates are drawn (413).
    tokens: that a language model writes, and steps that are forecast; beams: that it looks for a text with (413).
    """

    body: int = 64 * 2**20
    json: int = 8 * 2**20
    rows: int = 4096
    steps: int = 100_000
    queue: int = 16_384
    sessions: int = 10_000
    idle: float = 21_600.0
    pending: int = 64
    replies: int = 64
    kept: float = 300.0
    batch: int = 512
    delay: float = 0.002
    reading: float = 60.0
    drawn: int = 500
    tokens: int = 2000
    beams: int = 64

    def __post_init__(self) -> None:
        for one in fields(self):
            value: Any = getattr(self, one.name)
            whole = isinstance(one.default, int)
            low = 0 if one.name == "delay" else 1 if whole else 0.001
            fits = isinstance(value, int) or (isinstance(value, float) and not whole)
            if isinstance(value, bool) or not fits or not low <= value < float("inf"):
                kind = "an int" if whole else "a number of seconds"
                bad_parameter("Limits", one.name, f"{kind} in [{low:g}, inf)", value)
