"""What decides the operations of a cell's step: its classes, settings, shapes and shared weights."""

from __future__ import annotations

import weakref
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

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
    """Call it to learn whether a cell is still as it was; in a few microseconds where its settings are plain."""

    def __init__(self, cell: nn.Module) -> None:
        modules = list(cell.modules())
        self.settings = [module.__dict__ for module in modules]
        self.hooks = [getattr(module, hooks) for module in modules for hooks in HOOKS]
        self.before = [_contents(settings) for settings in self.settings]
        plain = all(_plain(v) for m in modules for k, v in m.__dict__.items() if k not in _OWN)
        self.cell = None if plain else weakref.ref(cell)
        self.key = None if plain else signature(cell)

    def __call__(self) -> bool:
        if any(self.hooks):
            return False
        for settings, before in zip(self.settings, self.before):
            now = _contents(settings)
            if len(now) != len(before) or not all(map(is_, now, before)):
                return False
        if self.cell is None:
            return True
        cell = self.cell()
        return cell is not None and self.key is not None and signature(cell)[0] == self.key[0]


def _contents(settings: dict[str, Any]) -> tuple[Any, ...]:
    """What hangs on a module, as the very objects: held, none of them can give its place in memory to another."""
    groups = (settings["_parameters"], settings["_buffers"], settings["_modules"])
    return (*settings.values(), *(value for group in groups for value in group.values()))


def _plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_plain, value)))
