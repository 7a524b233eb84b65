"""Which layer reads which: Keras 1 and 2 write lists, Keras 3 objects in which masks are spelt out."""

from __future__ import annotations

from typing import Any

from unspool.errors import ModelFileError
from unspool.importing.keras_config import Architecture, Call, KerasLayer, history
from unspool.saved import Fields

#: The operations that Keras 3 makes of how masks pass from layer to layer.
MASK_OPERATIONS = {
    "NotEqual",
    "ExpandDims",
    "ZerosLike",
    "OnesLike",
    "LogicalOr",
    "LogicalAnd",
    "Concatenate",
} | {
    "Any",
    "All",
    "Cast",
}


def running_order(architecture: Architecture) -> dict[Call, tuple[Call, ...]]:
    """The calls that the output needs, each after those that it reads -> those."""
    order: dict[Call, tuple[Call, ...]] = {}
    begun: dict[Call, tuple[Call, ...]] = {}
    waiting = [architecture.output]
    while waiting:
        call = waiting[-1]
        if call not in begun:
            begun[call] = _reads(architecture, call)
            for read in begun[call]:
                if read in begun and read not in order:
                    raise ModelFileError(f"the layer {read[0]!r} reads, in the end, itself.")
                if read not in begun:
                    waiting.append(read)
            continue
        waiting.pop()
        order.setdefault(call, begun[call])
    return order


def _entry(architecture: Architecture, call: Call) -> tuple[KerasLayer, Any]:
    """(the layer, its call as the file has it)."""
    name, number = call
    layer = architecture.layers.get(name)
    if layer is None or not 0 <= number < len(layer.calls):
        raise ModelFileError(f"it reads call {number} of a layer {name!r}, which it does not have.")
    return layer, layer.calls[number]


def _reads(architecture: Architecture, call: Call) -> tuple[Call, ...]:
    layer, entry = _entry(architecture, call)
    if layer.operation:
        raise ModelFileError(f"{layer.where} is an operation between layers, which is not supported.")
    if isinstance(entry, dict):
        _check_kwargs(architecture, layer, entry.get("kwargs"))
        return tuple(_tensors(layer, entry.get("args")))
    if not isinstance(entry, list):
        raise ModelFileError(f"{layer.where} has inputs that are no list.")
    for read in entry:
        _check_kwargs(architecture, layer, read[3] if isinstance(read, list) and len(read) > 3 else None)
    return tuple(history(read, layer.where) for read in entry)


def _tensors(layer: KerasLayer, args: Any) -> list[Call]:
    """[tensor], or [[tensor, tensor, ...]] of a layer that merges."""
    if not isinstance(args, list) or len(args) != 1:
        raise ModelFileError(f"{layer.where} must be called with one argument. Got {str(args)[:80]}.")
    given = args[0] if isinstance(args[0], list) else args
    return [_tensor(layer, value) for value in given]


def _tensor(layer: KerasLayer, value: Any) -> Call:
    tensor = Fields(value, layer.where)
    if tensor.get("class_name", str) != "__keras_tensor__":
        raise ModelFileError(f"{layer.where} reads something else than the output of a layer.")
    return history(tensor.child("config").get("keras_history", list), layer.where)


def _check_kwargs(architecture: Architecture, layer: KerasLayer, kwargs: Any) -> None:
    """Beside its input a layer may get `training`, and the mask that passes from layer to layer anyway."""
    if kwargs is None:
        return
    for name, value in Fields(kwargs, layer.where).data.items():
        if value is None or name == "training":
            continue
        if name != "mask" or not isinstance(value, (dict, list)):
            raise ModelFileError(
                f"{layer.where} is called with {name}={str(value)[:80]}, which is not supported."
            )
        for mask in value if isinstance(value, list) else [value]:
            if mask is not None:
                _check_mask(architecture, layer, _tensor(layer, mask))


def _check_mask(architecture: Architecture, layer: KerasLayer, mask: Call) -> None:
    """The mask must come, by Keras' own operations, from layers that mask: it is what passes on anyway."""
    seen, waiting = set(), [mask]
    while waiting:
        call = waiting.pop()
        if call in seen:
            continue
        seen.add(call)
        operation, entry = _entry(architecture, call)
        args = entry.get("args") if isinstance(entry, dict) else None
        if operation.kind not in MASK_OPERATIONS or not isinstance(args, list):
            raise ModelFileError(f"{layer.where} is called with a mask of its own, which is not supported.")
        if operation.kind == "NotEqual":
            if not any(_masks_so(architecture, other, args) for other in architecture.layers.values()):
                raise ModelFileError(
                    f"{layer.where} is called with a mask of its own, which is not supported."
                )
            continue
        if operation.kind in ("ZerosLike", "OnesLike"):
            continue
        for value in args:
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, dict):
                    waiting.append(_tensor(operation, tensor))


def _masks_so(architecture: Architecture, layer: KerasLayer, args: list[Any]) -> bool:
    """Whether `layer` masks the steps of that tensor that are that value: NotEqual(tensor, value)."""
    if layer.kind == "Embedding":
        value: Any = 0 if layer.config.data.get("mask_zero") else None
    else:
        value = layer.config.data.get("mask_value") if layer.kind == "Masking" else None
    if value is None or len(args) != 2 or args[1] != value or not isinstance(args[0], dict):
        return False
    for entry in layer.calls:
        if isinstance(entry, dict) and isinstance(entry.get("args"), list):
            given = entry["args"][0] if entry["args"] else None
            if isinstance(given, dict) and _tensor(layer, given) == _tensor(layer, args[0]):
                return True
    return False
