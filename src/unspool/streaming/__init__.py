"""Sequences that come bit by bit: one (`Stream`), or many at once (`StreamPool`); of bidirectional models with a
look-ahead (`LookAheadStream`, `LookAheadPool`)."""

from unspool.streaming.look_ahead import LookAheadStream
from unspool.streaming.look_ahead_pool import LookAheadPool
from unspool.streaming.model import AheadModel, StreamModel, stream_model
from unspool.streaming.pool import StreamPool
from unspool.streaming.stream import Stream

__all__ = [
    "AheadModel",
    "LookAheadPool",
    "LookAheadStream",
    "Stream",
    "StreamModel",
    "StreamPool",
    "stream_model",
]
