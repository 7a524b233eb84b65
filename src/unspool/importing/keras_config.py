"""The architecture of a Keras model, as its JSON has it: layers, and which one reads which."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.saved import Fields

MODELS = ("Sequential", "Functional", "Model")
MAX_LAYERS = 10_000
MAX_DEPTH = 20  # of models within models
#: The functions between layers of Keras 3 that are read, by the names of their classes.
OPERATIONS = set(
    "GetItem TrueDivide Divide Add Subtract Multiply Maximum Minimum Mean Sum Max ExpandDims Softmax Concatenate Tanh "
    "Sigmoid Relu Relu6 Silu Softplus Softsign Exp".split()
)
TENSOR = "__keras_tensor__"  # the class of what a call of Keras 3 reads

Call = tuple[str, int]  # a layer's name and which of its calls
Read = tuple[str, int, int]  # and which of the call's outputs
Shape = list[int | None]


@dataclass(frozen=True)
class KerasLayer:
    """One layer. calls: what each of its calls reads, as the file has it; operation: it is a function, not a layer;
    inside: the layers of a model within the model."""

    kind: str
    name: str
    config: Fields
    calls: tuple[Any, ...] = ()
    operation: bool = False
    inside: Architecture | None = None

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"the layer {self.name!r} ({self.kind})"

    def shaped(self, arrays: list[np.ndarray], *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """`arrays`, if they have these shapes; otherwise `ModelFileError`."""
        got = [array.shape for array in arrays]
        if got != list(shapes):
            raise ModelFileError(f"{self.where} must have weights of shapes {list(shapes)}. Got {got}.")
        return arrays


@dataclass(frozen=True)
class Architecture:
    """All layers in the file's order; inputs and outputs by name.

    inputs: the shape of each, None where the file does not say it. input_calls: the calls that only pass one on.
    maskers: of calls that were looked at, the calls of layers that mask among those before them.
    """

    layers: dict[str, KerasLayer]
    outputs: dict[str, Read]
    inputs: dict[str, Shape | None]
    input_calls: dict[Call, str]
    maskers: dict[Call, frozenset[Call]] = field(default_factory=dict)


def parse(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`; `ModelFileError` for anything else."""
    try:
        found = json.loads(text, parse_float=_finite, parse_constant=_finite)
        json.dumps(found, ensure_ascii=False).encode()  # halves of characters cannot be saved again
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its configuration is not readable JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ModelFileError(f"its configuration must be a JSON object. Got {type(found).__name__}.")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def read_architecture(data: dict[str, Any], depth: int = 0) -> Architecture:
    """The layers of a model's configuration; `ModelFileError` for what is no sequential or functional model.

    depth: how many models this one is in.
    """
    if depth > MAX_DEPTH:
        raise ModelFileError(f"it has more than {MAX_DEPTH} models within each other.")
    top = Fields(data, "the configuration")
    kind = top.get("class_name", str)
    if kind not in MODELS:
        raise ModelFileError(
            f"it is a {kind!r}: only Sequential and functional models have their layers in the file."
        )
    if kind == "Sequential":
        return _sequential(top, depth)
    return _functional(top.child("config"), depth)


def layer_of(fields: Fields, name: str | None = None) -> KerasLayer:
    """The layer that {"class_name", "config"} describes, without what it reads."""
    kind = fields.get("class_name", str)
    config = fields.child("config")
    name = name or config.data.get("name") or fields.data.get("name") or kind.lower()
    if not isinstance(name, str):
        raise ModelFileError(f"the name of a layer must be text. Got {name!r}.")
    module = fields.data.get("module")
    parts = module.split(".") if isinstance(module, str) else ["keras"]
    if parts[0] not in ("keras", "tf_keras"):
        raise ModelFileError(
            f"the layer {name!r} is of the class {kind!r} of the module {module!r}, whose code is not in the file."
        )
    config = Fields(config.data, f"the layer {name!r} ({kind})")
    return KerasLayer(kind, name, config, operation="ops" in parts)


def _with_inside(layer: KerasLayer, entry: Fields, depth: int) -> KerasLayer:
    """A layer that is a model, with its layers; another one as it is."""
    return replace(layer, inside=read_architecture(entry.data, depth + 1)) if layer.kind in MODELS else layer


def _listed(config: Fields, what: str) -> list[Fields]:
    entries = config.items("layers", dict)
    if not 1 <= len(entries) <= MAX_LAYERS:
        raise ModelFileError(f"the configuration must have 1 to {MAX_LAYERS:,} layers. Got {len(entries):,}.")
    return [Fields(entry, f"{what} {number}") for number, entry in enumerate(entries)]


def _sequential(top: Fields, depth: int) -> Architecture:
    given = top.data.get("config")
    config = Fields({"layers": given} if isinstance(given, list) else given, "the configuration, 'config',")
    listed = [_with_inside(layer_of(entry), entry, depth) for entry in _listed(config, "the layer")]
    first = listed[0]
    if first.kind != "InputLayer":
        listed.insert(0, KerasLayer("InputLayer", "input", Fields({}, "the input")))
    layers: dict[str, KerasLayer] = {}
    before: list[Any] = []
    for layer in listed:
        if layer.name in layers:
            raise ModelFileError(f"it has two layers of the name {layer.name!r}.")
        layers[layer.name] = replace(layer, calls=(before,))
        before = [[layer.name, 0, 0]]
    shape = next(iter(first.inside.inputs.values())) if first.inside is not None else _shape_of(first)
    if shape is None and isinstance(config.data.get("build_input_shape"), list):
        shape = _checked_shape(config.data["build_input_shape"])
    name = listed[0].name
    return Architecture(layers, {before[0][0]: (before[0][0], 0, 0)}, {name: shape}, {(name, 0): name})


def _functional(config: Fields, depth: int) -> Architecture:
    layers: dict[str, KerasLayer] = {}
    for entry in _listed(config, "the layer"):
        name = entry.data.get("name")
        layer = layer_of(entry, name if isinstance(name, str) else None)
        layer = _with_inside(layer, entry, depth)
        calls = tuple(entry.get("inbound_nodes", list)) or ([],)
        operation = layer.operation or ("module" not in entry.data and _of_operation(layer, calls[0]))
        layers[layer.name] = replace(layer, calls=calls, operation=operation)
    inputs, outputs = (_ends(config, name) for name in ("input_layers", "output_layers"))
    shapes: dict[str, Shape | None] = {}
    for name, (layer_name, _, _) in inputs.items():
        if layer_name not in layers or layers[layer_name].kind != "InputLayer":
            raise ModelFileError(f"its input {layer_name!r} is no input layer of it.")
        shapes[name] = _shape_of(layers[layer_name])
    return Architecture(layers, outputs, shapes, {end[:2]: name for name, end in inputs.items()})


def _of_operation(layer: KerasLayer, call: Any) -> bool:
    """Whether an entry without a module, as Keras 3 writes them to HDF5, is of a function: layers say what they are
    computed in, or whether they are trained, and of functions only `concatenate` takes a list."""
    args = call.get("args") if isinstance(call, dict) else None
    if not isinstance(args, list) or (args and isinstance(args[0], list) and layer.kind != "Concatenate"):
        return False
    return layer.kind in OPERATIONS and not {"dtype", "trainable"} & set(layer.config.data)


def _ends(config: Fields, field: str) -> dict[str, Read]:
    """Of {"name": ["a", 0, 0], ...}, [["a", 0, 0], ...], lists of these, or ["a", 0, 0] of a single one; those without
    a name have their layer's."""
    given, found = config.data.get(field), {}
    waiting = [(None, config.get(field, dict if isinstance(given, dict) else list))]
    while waiting:
        name, end = waiting.pop(0)
        if isinstance(end, dict):
            waiting = [*end.items(), *waiting]
        elif isinstance(end, list) and not (end and isinstance(end[0], str)):
            waiting = [*((None, inner) for inner in end), *waiting]
        else:
            read = history(end, "the configuration")
            name = read[0] if name is None else name
            while name in found:
                name += "_"
            found[name] = read
        if len(found) + len(waiting) > MAX_LAYERS:
            break
    if not 1 <= len(found) <= MAX_LAYERS or waiting:
        raise ModelFileError(
            f"it must have 1 to {MAX_LAYERS:,} {field.replace('_', ' ')}. Got {len(found):,}."
        )
    return found


def history(value: Any, where: str) -> Read:
    """The output that [name, call, number] names; `ModelFileError` for anything else."""
    right = isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)
    if not right or any(type(number) is not int or number < 0 for number in value[1:3]):
        raise ModelFileError(f"{where} has an input that is not [name, call, number]: {str(value)[:80]}.")
    return value[0], value[1], value[2]


def _shape_of(layer: KerasLayer) -> Shape | None:
    for name in ("batch_shape", "batch_input_shape"):
        if isinstance(layer.config.data.get(name), list):
            return _checked_shape(layer.config.data[name])
    length = layer.config.data.get("input_length")
    return [None, length] if type(length) is int else None


def _checked_shape(shape: list[Any]) -> Shape:
    if not all(n is None or (type(n) is int and 0 < n < 2**31) for n in shape):
        raise ModelFileError(f"the shape of its input must be of ints and nulls. Got {str(shape)[:80]}.")
    return shape
