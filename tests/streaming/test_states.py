"""States as bytes: whatever becomes of them, they are refused or right."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch

from unspool import cells
from unspool.errors import ModelFileError
from unspool.nn import Recurrent
from unspool.streaming import Stream, states, stream_model

DIGEST = bytes(range(32))


def layer(seed: int = 0, units: int = 4, cell: str = "lstm") -> Recurrent:
    torch.manual_seed(seed)
    return Recurrent(cells.get(cell)(2, units)).eval()


def test_bytes_by_hand() -> None:
    state = states.SessionState(np.array([1.0, -2.5], np.float32), 7, "hé")
    data = states.to_bytes(state, DIGEST)
    body = (
        b"unspool stream\n\0"
        + (1).to_bytes(4, "little")
        + DIGEST
        + (7).to_bytes(8, "little")
        + (2).to_bytes(4, "little")
        + (3).to_bytes(4, "little")
        + struct.pack("<2f", 1.0, -2.5)
        + b"h\xc3\xa9"
    )
    assert data == body + hashlib.sha256(body).digest()
    back = states.from_bytes(data, DIGEST, 2)
    assert back.row.tolist() == [1.0, -2.5] and back[1:] == (7, "hé")


def test_a_saved_state_goes_on_to_the_bit() -> None:
    model, x = stream_model(layer()), torch.randn(12, 2)
    stream = Stream(model)
    expected = stream.push(x)[5:]
    half = Stream(layer())
    half.push(x[:5])
    assert torch.equal(Stream(model).load(half.save()).push(x[5:]), expected)


def test_states_of_other_models_are_refused() -> None:
    data = Stream(layer()).save()
    for other in (layer(1), layer(0, 5), layer(0, 4, "gru"), layer(0, 4, "peephole_lstm")):
        with pytest.raises(ModelFileError, match="another model"):
            Stream(other).load(data)
    with pytest.raises(ModelFileError, match="another model"):
        Stream(layer(), weights="int8").load(data)


def test_every_mutated_state_is_refused() -> None:
    model = stream_model(layer())
    stream = Stream(model)
    stream.push(torch.ones(2))
    data = stream.save()
    random = np.random.default_rng(0)
    target = Stream(model)
    before = target.save()
    wrong = [data[:n] for n in range(0, len(data), 7)] + [data + b"\0", data * 2]
    for place in range(len(data)):
        for bit in (1 << int(random.integers(8)), 255):
            wrong.append(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
    for _ in range(300):
        a, b = sorted(random.integers(0, len(data), 2).tolist())
        wrong.append(data[:a] + random.bytes(int(random.integers(0, 9))) + data[b + 1 :])
    for mutated in wrong:
        assert mutated != data
        with pytest.raises(ModelFileError):
            target.load(mutated)
    assert target.save() == before


def signed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def test_a_right_checksum_is_not_enough() -> None:
    data = states.to_bytes(states.SessionState(np.zeros(2, np.float32), 7, ""), DIGEST)[:-32]
    sizes = 16 + 4 + 32
    for steps, floats, text in ((7, 3, 0), (7, 2**32 - 1, 0), (7, 2, 2**32 - 1), (2**62, 2, 0), (7, 1, 4)):
        head = data[:sizes] + struct.pack("<QII", steps, floats, text)
        with pytest.raises(ModelFileError):
            states.from_bytes(signed(head + data[len(head) :]), DIGEST, 2)
    with pytest.raises(ModelFileError, match="UTF-8"):
        states.from_bytes(signed(data[:-12] + struct.pack("<I", 1) + data[-8:] + b"\xff"), DIGEST, 2)
    with pytest.raises(ModelFileError, match="version 2"):
        states.from_bytes(signed(data[:16] + b"\2\0\0\0" + data[20:]), DIGEST, 2)
    for strange in (None, "text", 5):
        with pytest.raises(ModelFileError, match="must be bytes"):
            states.from_bytes(strange, DIGEST, 2)  # type: ignore[arg-type]
    held = states.to_bytes(states.SessionState(np.zeros(8, np.float32), 7, "x"), stream_model(layer()).digest)
    with pytest.raises(ModelFileError, match="reads none"):
        Stream(layer()).load(held)
