"""The operations of a step that an imported cell is made of, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: A value of a step: (B, ...), a weight, or a number.
Value = Any
Operation = Callable[..., Value]

OPERATIONS: dict[str, Operation] = {}
#: How many values each takes; None: one or more.
COUNTS: dict[str, int | None] = {}
#: The settings of those that have some: name -> type.
SETTINGS: dict[str, dict[str, type]] = {}


def _register(name: str, count: int | None, function: Operation, **settings: type) -> None:
    OPERATIONS[name], COUNTS[name], SETTINGS[name] = function, count, settings


def _tensor(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((1, 1), float(value))


def _truth(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((1, 1), bool(value))


def _of_truths(function: Operation) -> Operation:
    return lambda a, b: function(_truth(a), _truth(b))


def _larger(a: Value, b: Value) -> Value:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return a.clamp(min=b) if isinstance(a, Tensor) else _tensor(b).clamp(min=a)


def _smaller(a: Value, b: Value) -> Value:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(a, b)
    return a.clamp(max=b) if isinstance(a, Tensor) else _tensor(b).clamp(max=a)


def _of_tensor(function: Operation) -> Operation:
    return lambda a: function(_tensor(a))


for _name in """abs exp log tanh sigmoid sqrt relu erf sin cos tan asin acos atan sinh cosh asinh acosh atanh floor ceil
round sign neg reciprocal isinf isnan logical_not""".split():
    _register(_name, 1, _of_tensor(getattr(torch, _name)))
_register("softplus", 1, functional.softplus)
_register("softsign", 1, functional.softsign)
_register("float", 1, lambda a: _tensor(a).to(torch.float32))
_register("bool", 1, lambda a: a != 0)
_register("add", 2, lambda a, b: a + b)
_register("sub", 2, lambda a, b: a - b)
_register("mul", 2, lambda a, b: a * b)
_register("div", 2, lambda a, b: a / b)
_register("pow", 2, lambda a, b: torch.pow(a, b))
_register("fmod", 2, lambda a, b: torch.fmod(_tensor(a), b))
_register("max", 2, _larger)
_register("min", 2, _smaller)
_register("gt", 2, lambda a, b: a > b)
_register("ge", 2, lambda a, b: a >= b)
_register("lt", 2, lambda a, b: a < b)
_register("le", 2, lambda a, b: a <= b)
_register("eq", 2, lambda a, b: a == b)
_register("logical_and", 2, _of_truths(torch.logical_and))
_register("logical_or", 2, _of_truths(torch.logical_or))
_register("logical_xor", 2, _of_truths(torch.logical_xor))
_register("where", 3, lambda c, a, b: torch.where(_truth(c), a, b))
_register("matmul", 2, lambda a, b: _tensor(a) @ _tensor(b))
_register("cat", None, lambda *parts, axis: torch.cat([_tensor(p) for p in parts], axis), axis=int)
_register("sum", 1, lambda a, axes, keep: a.sum(axes, keepdim=keep), axes=list, keep=bool)
_register("mean", 1, lambda a, axes, keep: a.mean(axes, keepdim=keep), axes=list, keep=bool)
_register("amax", 1, lambda a, axes, keep: a.amax(axes, keepdim=keep), axes=list, keep=bool)
_register("softmax", 1, lambda a, axis: a.softmax(axis), axis=int)
_register("permute", 1, lambda a, axes: _tensor(a).permute(axes), axes=list)


def _places(a: Value, axis: int, kept: int, largest: bool) -> Value:
    """Of the largest or smallest numbers, in order; equal ones in the order they stand in, as ONNX' TopK has it."""
    return a.sort(dim=axis, descending=largest, stable=True)[1].narrow(axis, 0, kept)


_register("places", 1, _places, axis=int, kept=int, largest=bool)


def _rows(*values: Value) -> list[Tensor]:
    """All with as many rows as the one that has most."""
    tensors = [_tensor(value) for value in values]
    most = max(len(tensor) for tensor in tensors)
    return [tensor.expand(most, -1) for tensor in tensors]


def _pick(a: Value, places: Value) -> Value:
    """out[:, i] = a[:, places[:, i]], whole numbers that lie within."""
    a, places = _rows(a, places)
    return a.gather(1, places.long().clamp(0, a.shape[1] - 1))


def _drop(a: Value, places: Value, width: int) -> Value:
    """out[:, places[:, i]] += a[:, i], of zeros (B, width)."""
    a, places = _rows(a, places)
    return torch.zeros(len(places), width).scatter_add(1, places.long().clamp(0, width - 1), a)


_register("pick", 2, _pick)
_register("drop", 2, _drop, width=int)


def _slice(a: Value, axis: int, start: int, stop: int) -> Value:
    places: list[Any] = [slice(None)] * a.dim()
    places[axis] = slice(start, stop)
    return a[tuple(places)]


def _gather(a: Value, axis: int, places: Sequence[int]) -> Value:
    first, count = places[0], len(places)
    if [*places] == [*range(first, first + count)]:
        return _slice(a, axis, first, first + count)
    return a.index_select(axis, torch.tensor(places))


def _put(a: Value, places: Sequence[int], width: int) -> Value:
    """out[:, places[i]] += a[:, i], of zeros (B, width)."""
    return a @ (torch.tensor(places)[:, None] == torch.arange(width)).to(torch.float32)


def _sized(a: Value, rows: int, shape: Sequence[int]) -> tuple[Tensor, list[int]]:
    """rows: B. A size of -2 in `shape` stands for it."""
    return _tensor(a), [rows if n == -2 else n for n in shape]


def _reshape(a: Value, rows: int, shape: Sequence[int]) -> Value:
    """A size of 0 is the value's own."""
    tensor, sizes = _sized(a, rows, shape)
    return tensor.reshape([tensor.shape[i] if n == 0 else n for i, n in enumerate(sizes)])


def _expand(a: Value, rows: int, shape: Sequence[int]) -> Value:
    """ONNX' Expand: a size of 1 leaves the value's own."""
    tensor, sizes = _sized(a, rows, shape)
    own = [1] * (len(sizes) - tensor.dim()) + list(tensor.shape)
    return tensor.expand([o if n == 1 else n for o, n in zip(own, sizes)])


_register("slice", 1, _slice, axis=int, start=int, stop=int)
_register("gather", 1, _gather, axis=int, places=list)
_register("put", 1, _put, places=list, width=int)
_register("reshape", 1, _reshape, shape=list)
_register("expand", 1, _expand, shape=list)
#: Those that take the number of rows too.
WITH_ROWS = ("reshape", "expand")
