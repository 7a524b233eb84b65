"""The state of a session as bytes, and back: nothing but numbers and text, checked before it is used."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unspool.errors import ModelFileError

MAGIC = b"unspool stream\n\0"
VERSION = 1
# version, digest of the model, steps, floats of the row, bytes of the text
_HEAD = struct.Struct("<16sI32sQII")
_CHECKSUM = 32


class SessionState(NamedTuple):
    """row (W,) float32; steps: that it has had; held: the beginning of a token that has not ended."""

    row: np.ndarray
    steps: int
    held: str = ""


def to_bytes(state: SessionState, digest: bytes) -> bytes:
    """The state of a model of this digest (32 bytes), little-endian: head, row, text, SHA-256 of all before."""
    text = state.held.encode()
    head = _HEAD.pack(MAGIC, VERSION, digest, state.steps, len(state.row), len(text))
    body = head + state.row.astype("<f4").tobytes() + text
    return body + hashlib.sha256(body).digest()


def from_bytes(data: bytes, digest: bytes, floats: int | Callable[[int], int]) -> SessionState:
    """What `to_bytes` wrote, of a model of this digest, whose rows have so many floats; a callable: after so many
    steps.

    Raises `ModelFileError` for anything else: no state, one of another version or model, a damaged or cut one.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ModelFileError(f"The state of a stream must be bytes. Got {type(data).__name__}.")
    data = bytes(data)
    if data[: len(MAGIC)] != MAGIC:
        raise ModelFileError("These bytes are not the state of a stream. Give what Stream.save returned.")
    if len(data) < _HEAD.size + _CHECKSUM:
        raise ModelFileError(f"The state of a stream is cut off after {len(data)} bytes. Save it again.")
    _, version, of, steps, width, text_size = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ModelFileError(
            f"The state of a stream has version {version}. This version of unspool reads {VERSION}."
        )
    if hashlib.sha256(data[:-_CHECKSUM]).digest() != data[-_CHECKSUM:]:
        raise ModelFileError("The state of a stream is damaged: its checksum does not hold. Save it again.")
    if of != digest:
        raise ModelFileError(
            "The state is of another model, of other weights, or of other settings. Load it into a stream of the model "
            "that it was saved from."
        )
    size = _HEAD.size + 4 * width + text_size + _CHECKSUM
    if steps >= 2**62:
        raise ModelFileError(f"The state of a stream has had {steps:,} steps, which no stream has.")
    expected = floats(steps) if callable(floats) else floats
    if width != expected or len(data) != size:
        raise ModelFileError(f"The state of a stream has {len(data)} bytes where its head says {size}.")
    row = np.frombuffer(data, "<f4", width, _HEAD.size).astype(np.float32)
    try:
        held = data[_HEAD.size + 4 * width : -_CHECKSUM].decode()
    except UnicodeDecodeError as error:
        raise ModelFileError("The text in the state of a stream is not UTF-8.") from error
    return SessionState(row, steps, held)
