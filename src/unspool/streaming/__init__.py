"""Sequences that come bit by bit: one (`Stream`), or many at once (`StreamPool`)."""

from unspool.streaming.model import StreamModel, stream_model
from unspool.streaming.pool import StreamPool
from unspool.streaming.stream import Stream

__all__ = ["Stream", "StreamModel", "StreamPool", "stream_model"]
