"""Which layer reads which: Keras 1 and 2 write lists, Keras 3 objects in which masks are spelt out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unspool.errors import ModelFileError
from unspool.importing import keras_operations
from unspool.importing.keras_config import TENSOR, Architecture, Call, KerasLayer, Read, history
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
    "ConvertToTensor",
}


#: Layers that take further tensors beside their first argument, by the names of these in the call.
BESIDE = {
    **dict.fromkeys(
        ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "RNN", "Bidirectional"), ("initial_state",)
    ),
    "MultiHeadAttention": ("query", "value", "key"),
}
#: What Keras 2 makes of functions and slices between layers.
TENSORFLOW = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "InstanceMethod", "ClassMethod")
#: Layers that take their tensors as several arguments.
ATTENDS = ("MultiHeadAttention",)


@dataclass(frozen=True)
class Reading:
    """What a call reads. masked: whether it skips steps that are masked: Keras 3 does not pass the mask on to a
    recurrent layer that is given its first states, unless the call itself does. causal: whether an attention is called
    so."""

    tensors: tuple[Read, ...]
    masked: bool = True
    causal: bool = False


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


def check_masks(architecture: Architecture, order: Mapping[Call, Reading]) -> None:
    """`ModelFileError` where what an attention skips hangs on the order in which Keras 3 runs the layers: its
    MultiHeadAttention takes the masks off what it reads, for all that read it later."""
    readers: dict[Call, set[Call]] = {}
    for call, reading in order.items():
        for name, number, _ in reading.tensors:
            readers.setdefault((name, number), set()).add(call)
    kinds = {call: architecture.layers[call[0]].kind for call in order}
    attends = {call for call, kind in kinds.items() if kind in (*ATTENDS, "Attention", "AdditiveAttention")}
    lost: dict[Call, bool] = {}  # whether a call is made of one that lost its mask
    for call, reading in order.items():
        reads = [read[:2] for read in reading.tensors]
        lost[call] = any(lost[read] for read in reads)
        for read in reads:
            takers = {one for one in readers[read] if kinds[one] in ATTENDS}
            if takers and len(readers[read]) > 1 and maskers(architecture, read):
                lost[call] |= takers != {call}
        if lost[call] and call in attends:
            raise ModelFileError(
                f"the layer {call[0]!r} ({kinds[call]}) reads steps that are masked, and whose mask Keras 3 loses or "
                "keeps by the order of its layers, which is not supported."
            )


def _entry(architecture: Architecture, call: Call) -> tuple[KerasLayer, Any]:
    """(the layer, its call as the file has it)."""
    name, number = call
    layer = architecture.layers.get(name)
    if layer is None or not 0 <= number < len(layer.calls):
        raise ModelFileError(f"it reads call {number} of a layer {name!r}, which it does not have.")
    return layer, layer.calls[number]


def _reads(architecture: Architecture, call: Call) -> Reading:
    layer, entry = _entry(architecture, call)
    if layer.kind in TENSORFLOW:
        function = str(layer.config.data.get("function"))[:80]
        raise ModelFileError(
            f"{layer.where} is a call of TensorFlow, {function!r}, which is not supported. Put a layer in its place, "
            "or save the model with Keras 3, of whose operations between layers many are."
        )
    if layer.operation:
        return Reading(tuple(read for read, _ in keras_operations.tensors(layer, entry)))
    if isinstance(entry, dict):
        kwargs = entry.get("kwargs") or {}
        first = _tensors(layer, entry.get("args"))
        beside, causal = _check_kwargs(architecture, layer, kwargs, first)
        skips = layer.kind in ATTENDS or not beside or bool(Fields(kwargs, layer.where).data.get("mask"))
        return Reading((*first, *beside), skips, causal)
    if not isinstance(entry, list):
        raise ModelFileError(f"{layer.where} has inputs that are no list.")
    first = [history(read, layer.where) for read in entry]
    beside, causal = [], False
    for read in entry:
        more, so = _check_kwargs(architecture, layer, read[3] if len(read) > 3 else None, first)
        beside, causal = beside + more, causal or so
    return Reading((*first, *beside), causal=causal)


def _tensors(layer: KerasLayer, args: Any) -> list[Read]:
    """[tensor], or [[tensor, tensor, ...]] of a layer that merges; of an attention with heads any number."""
    if layer.kind in ATTENDS and isinstance(args, list):
        return [_tensor(layer, value) for value in args]
    if not isinstance(args, list) or len(args) != 1:
        raise ModelFileError(f"{layer.where} must be called with one argument. Got {str(args)[:80]}.")
    given = args[0] if isinstance(args[0], list) else args
    return [_tensor(layer, value) for value in given]


def _tensor(layer: KerasLayer, value: Any) -> Read:
    """Of an object of Keras 3, or of a list of Keras 1 and 2."""
    if isinstance(value, list):
        return history(value, layer.where)
    tensor = Fields(value, layer.where)
    if tensor.get("class_name", str) != TENSOR:
        raise ModelFileError(f"{layer.where} reads something else than the output of a layer.")
    return history(tensor.child("config").get("keras_history", list), layer.where)


def _check_kwargs(
    architecture: Architecture, layer: KerasLayer, kwargs: Any, first: list[Read]
) -> tuple[list[Read], bool]:
    """Beside its input a layer may get `training`, the masks that pass from layer to layer anyway, and further tensors:
    these are returned, and whether an attention is causal."""
    beside: list[Read] = []
    given = {} if kwargs is None else Fields(kwargs, layer.where).data
    known, attends = BESIDE.get(layer.kind, ()), layer.kind in ATTENDS
    causal = attends and given.get("use_causal_mask") is True
    for name in sorted(given, key=lambda name: known.index(name) if name in known else len(known)):
        value = given[name]
        if value is None or name == "training" or (causal and name == "use_causal_mask"):
            continue
        if attends and value is False:
            continue
        if name in known:
            beside += _further(layer, name, value)
            continue
        of = name.removesuffix("_mask")
        if attends and of in known and known.index(of) < len(first) + len(beside) and isinstance(value, dict):
            _check_mask(architecture, layer, _tensor(layer, value), [*first, *beside][known.index(of)])
            continue
        if name != "mask" or not isinstance(value, (dict, list)):
            raise ModelFileError(
                f"{layer.where} is called with {name}={str(value)[:80]}, which is not supported."
            )
        one = not isinstance(value, list) or (
            value and isinstance(value[0], str)
        )  # Keras 2: [layer, call, output]
        masks = [value] if one else value
        if isinstance(value, list) and one and value[0] not in architecture.layers:
            raise ModelFileError(f"{layer.where} is called with a mask of its own, which is not supported.")
        if len(masks) != len(first):
            raise ModelFileError(f"{layer.where} is called with {len(masks)} masks of {len(first)} inputs.")
        for mask, read in zip(masks, first):
            if mask is not None:
                _check_mask(architecture, layer, _tensor(layer, mask), read)
    return beside, causal


def _further(layer: KerasLayer, name: str, value: Any) -> list[Read]:
    """One tensor, or a list of them."""
    one = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], str))
    tensors = [value] if one else value
    if not isinstance(tensors, list):
        raise ModelFileError(f"{layer.where} has a {name} that is no list.")
    return [_tensor(layer, tensor) for tensor in tensors]


def maskers(architecture: Architecture, call: Call) -> frozenset[Call]:
    """The calls of layers that mask among those that this one is made of, itself too."""
    known, waiting, begun = architecture.maskers, [call], set()
    while waiting:
        call = waiting[-1]
        layer, entry = _entry(architecture, call)
        reads = [read[:2] for read in _given(layer, entry)]
        missing = [read for read in reads if read not in known and read not in begun]
        begun.add(call)
        if missing:
            waiting += missing
            continue
        waiting.pop()
        masks = layer.kind == "Masking" or (layer.kind == "Embedding" and layer.config.data.get("mask_zero"))
        own = [frozenset([call])] if masks else []
        known[call] = frozenset().union(*own, *(known.get(read, frozenset()) for read in reads))
    return known[call]


def _given(layer: KerasLayer, entry: Any) -> list[Read]:
    """What a call reads, without a look at what else it is called with."""
    if not isinstance(entry, dict):
        return [history(tensor, layer.where) for tensor in entry] if isinstance(entry, list) else []
    kwargs = Fields(entry.get("kwargs") or {}, layer.where).data
    if layer.operation:
        return [read for read, _ in keras_operations.tensors(layer, entry)]
    further = [(name, kwargs[name]) for name in BESIDE.get(layer.kind, ()) if kwargs.get(name)]
    found = _tensors(layer, entry.get("args"))
    return [*found, *(read for name, value in further for read in _further(layer, name, value))]


def _check_mask(architecture: Architecture, layer: KerasLayer, mask: Read, read: Read) -> None:
    """The mask must come, by Keras' own operations, from layers that mask, and that the input is made of: it is what
    passes on anyway."""
    seen, waiting, before = set(), [mask[:2]], maskers(architecture, read[:2])
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
            if not any(_masks_so(architecture, call, args) for call in before):
                raise own
            continue
        if operation.kind in ("ZerosLike", "OnesLike"):
            continue
        for value in args:
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, dict):
                    waiting.append(_tensor(operation, tensor)[:2])


def _masks_so(architecture: Architecture, call: Call, args: list[Any]) -> bool:
    """Whether this call masks the steps of that tensor that are that value: NotEqual(tensor, value)."""
    layer, entry = _entry(architecture, call)
    if layer.kind == "Embedding":
        value: Any = 0 if layer.config.data.get("mask_zero") else None
    else:
        value = layer.config.data.get("mask_value") if layer.kind == "Masking" else None
    if value is None or len(args) != 2 or args[1] != value or not isinstance(args[0], dict):
        return False
    given = entry["args"][0] if isinstance(entry, dict) and entry.get("args") else None
    if not isinstance(given, dict):
        return False
    return _origin(architecture, _tensor(layer, given)) == _origin(architecture, _tensor(layer, args[0]))


def _origin(architecture: Architecture, read: Read) -> Read:
    """What an input of an inner model passes on."""
    for _ in range(len(architecture.layers)):
        layer, entry = _entry(architecture, read[:2])
        given = _given(layer, entry) if layer.kind == "InputLayer" else []
        if len(given) != 1:
            break
        read = given[0]
    return read
