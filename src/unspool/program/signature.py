"""What decides the operations of a cell's step: its classes, settings, shapes and shared weights."""

from __future__ import annotations

import weakref
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from unspool import _native

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_OWN = frozenset(nn.Module().__dict__) - {"training"} | {"_unspool_number"}
_PLAIN = (int, float, str, bool, type(None), torch.dtype, torch.device)


def signature(cell: nn.Module) -> tuple[Any, list[Any]]:
    """(a key, the objects that it names by identity). Equal keys mean equal steps while those objects live."""
    parts: list[Any] = []
    held: list[Any] = []
    numbers: dict[int, int] = {}
    for name, module in cell.named_modules():
        parts += [name, type(module)]
        parts += [len(getattr(module, hooks)) for hooks in HOOKS]
        for group in (module._parameters, module._buffers):
            for key, tensor in group.items():
                if tensor is not None:  # the number tells which weights are one and the same
                    number = numbers.setdefault(id(tensor), len(numbers))
                    parts.append((key, number, tensor.shape, tensor.dtype, tensor.device.type))
        for key, value in module.__dict__.items():
            if key not in _OWN:
                parts.append((key, _describe(value, held, 0)))
    return tuple(parts), held


def _describe(value: Any, held: list[Any], depth: int) -> Any:
    if isinstance(value, _PLAIN):
        return type(value), value
    if depth < 4:
        if isinstance(value, (list, tuple)):
            return type(value), tuple(_describe(v, held, depth + 1) for v in value)
        if isinstance(value, dict):
            return dict, tuple(
                (_describe(k, held, depth + 1), _describe(v, held, depth + 1)) for k, v in value.items()
            )
        simple = not isinstance(value, (Tensor, nn.Module, type)) and not callable(value)
        if simple and hasattr(value, "__dict__"):
            return type(value), _describe(vars(value), held, depth + 1)
    held.append(value)
    return "object", id(value)


class Unchanged:
    """Call it to learn whether a cell is still as it was; within a microsecond where its settings are plain."""

    def __init__(self, cell: nn.Module) -> None:
        dicts: list[dict[str, Any]] = []
        plain = True
        for module in cell.modules():
            own = module.__dict__
            settings = {key: value for key, value in own.items() if key not in _OWN}
            nested = [value for value in settings.values() if type(value) is dict]
            dicts += [own, own["_parameters"], own["_buffers"], own["_modules"], *nested]
            dicts += [getattr(module, hooks) for hooks in HOOKS]
            values = [value for value in settings.values() if type(value) is not dict]
            plain = plain and all(map(_by_identity, chain(values, *(d.values() for d in nested))))
        self.same = _native.Snapshot(dicts).holds
        self.cell = None if plain else weakref.ref(cell)
        self.key = None if plain else signature(cell)

    def __call__(self) -> bool:
        if not self.same():
            return False
        if self.cell is None:
            return True
        cell = self.cell()
        return cell is not None and self.key is not None and signature(cell)[0] == self.key[0]


def _by_identity(value: Any) -> bool:
    """Whether the same object is the same setting."""
    if isinstance(value, tuple):
        return all(map(_by_identity, value))
    return isinstance(value, (*_PLAIN, Tensor, nn.Module, type)) or callable(value)
