"""Which layer reads which: Keras 1 and 2 write lists, Keras 3 objects in which masks are spelt out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unspool.errors import ModelFileError
from unspool.importing.keras_config import Architecture, Call, KerasLayer, Read, history
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


#: Layers that take further tensors beside their first argument, by the names of these in the call.
BESIDE = {
    **dict.fromkeys(
        ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "Bidirectional"), ("initial_state",)
    ),
}


@dataclass(frozen=True)
class Reading:
    """What a call reads. masked: whether it skips steps that are masked: Keras 3 does not pass the mask on to a
    recurrent layer that is given its first states, unless the call itself does."""

    tensors: tuple[Read, ...]
    masked: bool = True


def running_order(architecture: Architecture) -> dict[Call, Reading]:
    """The calls that the outputs need, each after those that it reads -> what it reads."""
    order: dict[Call, Reading] = {}
    begun: dict[Call, Reading] = {}
    waiting = [read[:2] for read in reversed(architecture.outputs.values())]
    while waiting:
        call = waiting[-1]
        if call not in begun:
            begun[call] = _reads(architecture, call)
            for name, number, _ in begun[call].tensors:
                read = name, number
                if read in begun and read not in order:
                    raise ModelFileError(f"the layer {name!r} reads, in the end, itself.")
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


def _reads(architecture: Architecture, call: Call) -> Reading:
    layer, entry = _entry(architecture, call)
    if layer.operation:
        raise ModelFileError(f"{layer.where} is an operation between layers, which is not supported.")
    if isinstance(entry, dict):
        first = _tensors(layer, entry.get("args"))
        kwargs = entry.get("kwargs") or {}
        beside = _check_kwargs(architecture, layer, kwargs, first)
        return Reading((*first, *beside), not beside or bool(Fields(kwargs, layer.where).data.get("mask")))
    if not isinstance(entry, list):
        raise ModelFileError(f"{layer.where} has inputs that are no list.")
    first = [history(read, layer.where) for read in entry]
    beside = []
    for read in entry:
        kwargs = read[3] if len(read) > 3 else None
        beside += _check_kwargs(architecture, layer, kwargs, first)
    return Reading((*first, *beside))


def _tensors(layer: KerasLayer, args: Any) -> list[Read]:
    """[tensor], or [[tensor, tensor, ...]] of a layer that merges."""
    if not isinstance(args, list) or len(args) != 1:
        raise ModelFileError(f"{layer.where} must be called with one argument. Got {str(args)[:80]}.")
    given = args[0] if isinstance(args[0], list) else args
    return [_tensor(layer, value) for value in given]


def _tensor(layer: KerasLayer, value: Any) -> Read:
    """Of an object of Keras 3, or of a list of Keras 1 and 2."""
    if isinstance(value, list):
        return history(value, layer.where)
    tensor = Fields(value, layer.where)
    if tensor.get("class_name", str) != "__keras_tensor__":
        raise ModelFileError(f"{layer.where} reads something else than the output of a layer.")
    return history(tensor.child("config").get("keras_history", list), layer.where)


def _check_kwargs(
    architecture: Architecture, layer: KerasLayer, kwargs: Any, first: list[Read]
) -> list[Read]:
    """Beside its input a layer may get `training`, the mask that passes from layer to layer anyway, and first states:
    these are returned."""
    beside: list[Read] = []
    if kwargs is None:
        return beside
    for name, value in Fields(kwargs, layer.where).data.items():
        if value is None or name == "training":
            continue
        if name in BESIDE.get(layer.kind, ()):
            one = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], str))
            given = [value] if one else value
            if not isinstance(given, list):
                raise ModelFileError(f"{layer.where} has a {name} that is no list.")
            beside += [_tensor(layer, tensor) for tensor in given]
            continue
        if name != "mask" or not isinstance(value, (dict, list)):
            raise ModelFileError(
                f"{layer.where} is called with {name}={str(value)[:80]}, which is not supported."
            )
        masks = value if isinstance(value, list) else [value]
        if len(masks) != len(first):
            raise ModelFileError(f"{layer.where} is called with {len(masks)} masks of {len(first)} inputs.")
        for mask, read in zip(masks, first):
            if mask is not None:
                _check_mask(architecture, layer, _tensor(layer, mask), read)
    return beside


def _before(architecture: Architecture, read: Read) -> set[Call]:
    """All calls that an output is made of."""
    seen: set[Call] = set()
    waiting = [read[:2]]
    while waiting:
        call = waiting.pop()
        if call not in seen:
            seen.add(call)
            layer, entry = _entry(architecture, call)
            if isinstance(entry, dict):
                waiting += [tensor[:2] for tensor in _tensors(layer, entry.get("args"))]
            elif isinstance(entry, list):
                waiting += [history(tensor, layer.where)[:2] for tensor in entry]
    return seen


def _check_mask(architecture: Architecture, layer: KerasLayer, mask: Read, read: Read) -> None:
    """The mask must come, by Keras' own operations, from layers that mask, and that the input is made of: it is what
    passes on anyway."""
    seen, waiting, before = set(), [mask[:2]], _before(architecture, read)
    own = ModelFileError(f"{layer.where} is called with a mask of its own, which is not supported.")
    while waiting:
        call = waiting.pop()
        if call in seen:
            continue
        seen.add(call)
        operation, entry = _entry(architecture, call)
        args = entry.get("args") if isinstance(entry, dict) else None
        if operation.kind not in MASK_OPERATIONS or not isinstance(args, list):
            raise own
        if operation.kind == "NotEqual":
            if not any(_masks_so(architecture.layers[name], number, args) for name, number in before):
                raise own
            continue
        if operation.kind in ("ZerosLike", "OnesLike"):
            continue
        for value in args:
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, dict):
                    waiting.append(_tensor(operation, tensor)[:2])


def _masks_so(layer: KerasLayer, number: int, args: list[Any]) -> bool:
    """Whether this call masks the steps of that tensor that are that value: NotEqual(tensor, value)."""
    if layer.kind == "Embedding":
        value: Any = 0 if layer.config.data.get("mask_zero") else None
    else:
        value = layer.config.data.get("mask_value") if layer.kind == "Masking" else None
    if value is None or len(args) != 2 or args[1] != value or not isinstance(args[0], dict):
        return False
    entry = layer.calls[number]
    given = entry["args"][0] if isinstance(entry, dict) and entry.get("args") else None
    return isinstance(given, dict) and _tensor(layer, given) == _tensor(layer, args[0])
