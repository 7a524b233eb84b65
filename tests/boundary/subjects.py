"""Registry: the calls of which each is made in every surrounding and with every disturbance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unspool import cells, nn

from .given import Given, Subject, ragged

F, H = 5, 17  # features; units, one more than a vector has


def _seeded(make: Callable[[], Any]) -> Callable[[], Any]:
    def build() -> Any:
        torch.manual_seed(3)
        return make()

    return build


def _pair(parts: Sequence[Any]) -> Any:
    return tuple(parts)


def _one(parts: Sequence[Any]) -> Any:
    return parts[0]


def _both_directions(parts: Sequence[Any]) -> Any:
    return (tuple(parts[:2]), tuple(parts[2:]))


def _two_layers(parts: Sequence[Any]) -> Any:
    return [tuple(parts[:2]), tuple(parts[2:])]


def _padded(given: Given, x: Any, state: Any) -> Any:
    return given.layer(x, state)


def _ragged(given: Given, x: Any, state: Any) -> Any:
    output, final = given.layer(ragged(given, x), state)
    return output.values, final


def _step(given: Given, x: Any, state: Any) -> Any:
    new = given.layer.step(x, state)
    return (new[0] if isinstance(new, tuple) else new), new


def _indexed(given: Given, x: Any, state: Any) -> Any:
    output, finals = given.layer.run(x, given.offsets, [state], given.index)
    return output, finals[0]


def _lstm(**options: Any) -> Any:
    return nn.LSTM(F, H, num_layers=2, bidirectional=True, batch_first=True, **options)


def _recurrent() -> Any:
    return nn.Recurrent(cells.LSTMCell(F, H), bidirectional=True)


ALL = [
    Subject("lstm", _seeded(_lstm), _padded, "LSTM", "padded", _pair, 2, 2, drop_in=True),
    Subject("gru", _seeded(lambda: nn.GRU(F, H)), _ragged, "GRU", "ragged", _one, drop_in=True),
    Subject("recurrent", _seeded(_recurrent), _ragged, "LSTM", "ragged", _both_directions, 1, 2),
    Subject(
        "stack", _seeded(lambda: nn.Stack("gru", F, H, 2, True)), _ragged, "GRU", "ragged", _two_layers, 2, 2
    ),
    Subject("indexed", _seeded(lambda: nn.Recurrent(cells.RNNCell(F, H))), _indexed, "RNN", "indexed", _one),
    Subject("step", _seeded(lambda: nn.Recurrent(cells.LSTMCell(F, H))), _step, "LSTM", "rows", _pair),
    Subject("frozen lstm", _seeded(lambda: _lstm()), _padded, "LSTM", "padded", _pair, 2, 2, True, True),
    Subject(
        "frozen recurrent",
        _seeded(lambda: _recurrent()),
        _ragged,
        "LSTM",
        "ragged",
        _both_directions,
        1,
        2,
        frozen=True,
    ),
    Subject(
        "frozen step",
        _seeded(lambda: nn.Recurrent(cells.GRUCell(F, H))),
        _step,
        "GRU",
        "rows",
        _one,
        frozen=True,
    ),
]
SUBJECTS = {subject.name: subject for subject in ALL}
