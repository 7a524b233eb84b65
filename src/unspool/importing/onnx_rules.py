"""What each ONNX operator does to a value: the rules of `onnx_graph.Builder`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from unspool.errors import ModelFileError
from unspool.importing import onnx_recurrent
from unspool.importing.onnx_file import is_zero, lengths_behind
from unspool.importing.onnx_graph import RULES, Builder, Flow, Rule
from unspool.importing.onnx_recurrent import attribute, where

FUNCTIONS = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Exp": "exponential",
    "Mish": "mish",
    "HardSwish": "hard_silu",
}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Decorator of the rule of these operators."""

    def keep(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return keep


@rule("LSTM", "GRU", "RNN")
def _recurrent(b: Builder, node: Any) -> list[Flow | None]:
    x, made = b.flow(node), onnx_recurrent.read(node)
    axes = tuple(axis for axis in x.axes if axis != "1")
    if "D" in axes and x.directions == 1:
        axes = tuple(axis for axis in axes if axis != "D")
    if len(axes) != 3 or axes[2] != "F" or {axes[0], axes[1]} != {"a", "b"}:
        raise ModelFileError(f"{where(node)}, whose input is not (time, batch, features)")
    time, batch = (axes[1], axes[0]) if made.batch_first else (axes[0], axes[1])
    b.sees_time(node, time)
    weights = {name.replace(".", "__"): t for name, t in made.tensors.items()}
    steps = b.add("recurrent", node, (x.node,), made.settings, **weights)
    last = b.add("recurrent", node, (x.node,), {**made.settings, "outputs": "last"}, **weights)
    of_steps: tuple[str, ...] = (time, "D", batch, "F")
    of_last: tuple[str, ...] = ("D", batch, "F")
    if made.batch_first:
        of_steps, of_last = (batch, time, "D", "F"), (batch, "D", "F")
    return [
        Flow(steps, of_steps, made.hidden_size, made.directions),
        Flow(last, of_last, made.hidden_size, made.directions),
        None,
    ]


@rule("Identity", "Dropout", "Cast")
def _same(b: Builder, node: Any) -> Flow:
    x = b.flow(node)
    if node.op_type == "Cast":
        to = attribute(node, "to", 1)
        if to not in (1, 6, 7, 10, 11, 16):
            raise ModelFileError(f"{where(node)}, to a type that is no number")
        if to in (6, 7) and (x.node != -1 or "F" in x.axes):
            raise ModelFileError(f"{where(node)}, which cuts numbers to whole ones")
    trains = node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None
    if trains and np.any(b.fixed(node, 2)):
        raise ModelFileError(f"{where(node)}, which drops as in training: export the model in evaluation")
    return x


@rule("Where")
def _where(b: Builder, node: Any) -> Flow:
    """Zeros past the end of each sequence, or for an empty one: what sequences of their own length have anyway."""
    behind = lengths_behind(node.inputs[0])
    if not behind or not behind <= b.lengths or not is_zero(node.inputs[2]):
        raise ModelFileError(f"{where(node)}, which is more than zeros past the end")
    return b.flow(node, 1)


@rule("Transpose")
def _transpose(b: Builder, node: Any) -> Flow:
    x = b.flow(node)
    perm = attribute(node, "perm", tuple(reversed(range(len(x.axes)))))
    if sorted(perm) != list(range(len(x.axes))):
        raise ModelFileError(f"{where(node)}, whose axes are {tuple(perm)}")
    return replace(x, axes=tuple(x.axes[i] for i in perm))


@rule("Squeeze")
def _squeeze(b: Builder, node: Any) -> Flow:
    x = b.flow(node)
    given = attribute(node, "axes", None)
    chosen = b.fixed(node, 1).ravel().tolist() if given is None else list(given)
    gone = {int(i) % len(x.axes) for i in chosen}
    for i in gone:
        if not (x.axes[i] == "1" or (x.axes[i] == "D" and x.directions == 1)):
            raise ModelFileError(f"{where(node)}, which takes away an axis that is not of size 1")
    return replace(x, axes=tuple(axis for i, axis in enumerate(x.axes) if i not in gone))


@rule("Unsqueeze")
def _unsqueeze(b: Builder, node: Any) -> Flow:
    x = b.flow(node)
    given = attribute(node, "axes", None)
    chosen = b.fixed(node, 1).ravel().tolist() if given is None else list(given)
    axes = list(x.axes)
    for i in sorted(int(i) % (len(axes) + len(chosen)) for i in chosen):
        axes.insert(i, "1")
    return replace(x, axes=tuple(axes))


@rule("Reshape", "Flatten")
def _reshape(b: Builder, node: Any) -> Flow:
    """Only where it joins directions and features, or takes an axis of size 1 away."""
    x = b.flow(node)
    axes = tuple(axis for axis in x.axes if axis != "1")
    if x.directions == 1:
        axes = tuple(axis for axis in axes if axis != "D")
    width = None if x.width is None else x.width * x.directions
    if axes[-2:] == ("D", "F"):
        axes = (*axes[:-2], "F")
        joined = replace(x, axes=axes, width=width, directions=1)
    else:
        joined = replace(x, axes=axes)
    if node.op_type == "Flatten":
        fits = len(axes) == 2 and attribute(node, "axis", 1) == 1
    else:
        rank, last = _new_shape(b, node)
        fits = rank == len(axes) and axes[-1:] == ("F",) and "D" not in axes and last in (-1, joined.width)
    if not fits:
        raise ModelFileError(f"{where(node)}, which does more than join directions and features")
    return joined


def _new_shape(b: Builder, node: Any) -> tuple[int, Any]:
    """(axes, the last one's size) after a Reshape whose other sizes may be computed."""
    try:
        shape = [int(n) for n in b.fixed(node, 1).ravel()]
        known = node.inputs[0].shape
        for at, size in enumerate(shape[:-1]):
            same = known is not None and at < len(known) and known[at] == size
            if size not in (0, -1) and size != 1 and not same:
                return -1, 0
        return len([n for n in shape[:-1] if n != 1]) + 1, shape[-1]
    except ModelFileError:
        sizes = b.sizes(node.inputs[1])
        if sizes is not None:
            axes = [axis for axis in b.flow(node).axes if axis not in ("1", "D")]
            return (len(sizes) if sizes[:-1] == axes[:-1] else -1), sizes[-1] if sizes else 0
        known = node.outputs[0].shape
        if known is None or len(known) == 0 or not isinstance(known[-1], int):
            raise
        return len(known), known[-1]


@rule("Gather")
def _gather(b: Builder, node: Any) -> Flow:
    """An embedding of ids; the last step, or the first; one direction."""
    axis = attribute(node, "axis", 0)
    if node.inputs[0].name not in b.flows:
        table, ids = b.fixed(node, 0), b.flow(node, 1)
        if ids.node != -1 or "F" in ids.axes or table.ndim != 2 or axis != 0:
            raise ModelFileError(f"{where(node)}, which looks up something else than ids")
        settings = {"vocabulary": table.shape[0], "size": table.shape[1], "mask_zero": False}
        return Flow(b.add("embedding", node, (-1,), settings, weight=table), (*ids.axes, "F"), table.shape[1])
    x, index = b.flow(node), b.fixed(node, 1)
    if index.size != 1:
        raise ModelFileError(f"{where(node)}, which takes several entries")
    found = _entry(b, node, x, int(axis) % len(x.axes), int(index.ravel()[0]))
    if index.ndim == 0:
        return found
    axes = list(found.axes)
    axes.insert(int(axis) % len(x.axes), "1")
    return replace(found, axes=tuple(axes))


@rule("Slice")
def _slice(b: Builder, node: Any) -> Flow:
    """x[-1:] or x[:1] of time, or one direction."""
    x = b.flow(node)
    if "starts" in node.attributes:
        parts = [np.array(attribute(node, name, ())) for name in ("starts", "ends", "axes")]
    else:
        given = len(node.inputs) > 3 and node.inputs[3] is not None
        parts = [b.fixed(node, number) for number in (1, 2, 3)[: 2 + given]]
    if len(parts) == 2 or parts[2].size == 0:
        parts[2:] = [np.arange(parts[0].size)]
    steps = b.fixed(node, 4) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(1)
    start, end, axis, step = (int(part.ravel()[0]) if part.size == 1 else None for part in (*parts, steps))
    if start is None or end is None or axis is None or step != 1:
        raise ModelFileError(f"{where(node)}, which takes more than one entry of one axis")
    last = start == -1 and end >= 2**31 - 1
    if not (last or (end == start + 1 and start != -1)):
        raise ModelFileError(f"{where(node)}, which takes more than one entry of one axis")
    at = axis % len(x.axes)
    found = _entry(b, node, x, at, start)
    axes = list(found.axes)
    axes.insert(at, "1")
    return replace(found, axes=tuple(axes))


def _entry(b: Builder, node: Any, x: Flow, at: int, index: int) -> Flow:
    """`x` without the axis `at`: one step of time, or one direction."""
    axis = x.axes[at]
    rest = tuple(a for i, a in enumerate(x.axes) if i != at)
    if axis == "D" and x.directions == 1 and index in (0, -1):
        return replace(x, axes=rest)
    if axis == "D" and x.width is not None and -x.directions <= index < x.directions:
        start = (index % x.directions) * x.width
        number = b.add("part", node, (x.node,), {"start": start, "stop": start + x.width})
        return Flow(number, rest, x.width)
    if axis == b.time and index in (0, -1):
        number = b.add("pool", node, (x.node,), {"how": "last" if index else "first"})
        return replace(x, node=number, axes=rest)
    raise ModelFileError(
        f"{where(node)}, which takes entry {index} of an axis that is neither time nor directions"
    )


@rule("MatMul", "Gemm")
def _product(b: Builder, node: Any) -> Flow:
    x, weight = b.joined(node, b.flow(node)), b.fixed(node, 1)
    bias = None
    if node.op_type == "Gemm":
        if (
            attribute(node, "alpha", 1.0) != 1
            or attribute(node, "beta", 1.0) != 1
            or attribute(node, "transA", 0)
        ):
            raise ModelFileError(f"{where(node)}, with alpha, beta or transA")
        weight = weight if attribute(node, "transB", 0) else weight.T
        bias = b.fixed(node, 2) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    else:
        weight = weight.T
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ModelFileError(f"{where(node)}, whose weights are no matrix and a bias")
    units, inputs = weight.shape
    settings = {"inputs": inputs, "units": units, "bias": bias is not None, "activation": "linear"}
    weights = {"weight": weight, **({} if bias is None else {"bias": bias})}
    return replace(x, node=b.add("dense", node, (x.node,), settings, **weights), width=units, directions=1)


@rule("Add", "Sub", "Mul", "Div")
def _arithmetic(b: Builder, node: Any) -> Flow:
    """Two values of one shape, or a value and a constant."""
    of_flows = [value.name in b.flows for value in node.inputs[:2]]
    if all(of_flows):
        one, other = (b.joined(node, b.flow(node, number)) for number in (0, 1))
        how = {"Add": "sum", "Mul": "product", "Sub": "difference"}.get(node.op_type)
        if how is None or one.axes != other.axes or one.width != other.width:
            raise ModelFileError(f"{where(node)}, of two values of different axes")
        return replace(one, node=b.add("merge", node, (one.node, other.node), {"how": how}))
    x = b.joined(node, b.flow(node, of_flows.index(True)))
    number = np.asarray(b.fixed(node, of_flows.index(False)), np.float64)
    width = None if x.width is None else x.width * x.directions
    if width is None or (number.size > 1 and (number.size != width or number.shape[-1] != width)):
        raise ModelFileError(f"{where(node)}, with a constant that is not one number a feature")
    number = np.broadcast_to(number.ravel(), (width,))
    if node.op_type in ("Sub", "Div") and of_flows.index(False) == 0:
        raise ModelFileError(f"{where(node)}, of a constant by a value")
    scale, shift = np.ones(width), np.zeros(width)
    if node.op_type in ("Add", "Sub"):
        shift = number if node.op_type == "Add" else -number
    else:
        scale = number if node.op_type == "Mul" else 1 / number
    made = b.add("affine", node, (x.node,), {"size": width}, scale=scale, shift=shift)
    return replace(x, node=made, width=width, directions=1)


@rule(*FUNCTIONS, "Softmax", "LogSoftmax", "LeakyRelu", "Elu", "HardSigmoid", "Gelu", "Selu")
def _function(b: Builder, node: Any) -> Flow:
    x, slope = b.flow(node), 0.0
    name = FUNCTIONS.get(node.op_type)
    if node.op_type in ("Softmax", "LogSoftmax"):
        x = b.joined(node, x)
        if int(attribute(node, "axis", -1 if b.opset >= 13 else 1)) % len(x.axes) != len(x.axes) - 1:
            raise ModelFileError(f"{where(node)}, of another axis than the features")
        name = "softmax" if node.op_type == "Softmax" else "log_softmax"
    elif node.op_type == "LeakyRelu":
        name, slope = "leaky_relu", float(attribute(node, "alpha", 0.01))
    elif node.op_type == "Elu" and attribute(node, "alpha", 1.0) == 1.0:
        name = "elu"
    elif node.op_type == "HardSigmoid" and abs(attribute(node, "beta", 0.5) - 0.5) < 1e-7:
        slopes = {0.2: "hard_sigmoid_keras2", 1 / 6: "hard_sigmoid"}
        name = next((n for s, n in slopes.items() if abs(attribute(node, "alpha", 0.2) - s) < 1e-7), None)
    elif node.op_type == "Gelu" and attribute(node, "approximate", "none") == "none":
        name = "gelu"
    elif node.op_type == "Selu" and not node.attributes:
        name = "selu"
    if name is None:
        raise ModelFileError(f"{where(node)}, with constants that are not supported")
    return replace(x, node=b.add("activation", node, (x.node,), {"name": name, "slope": slope}))


@rule("ReduceMean", "ReduceMax")
def _pool(b: Builder, node: Any) -> Flow:
    x = b.flow(node)
    given = attribute(node, "axes", None)
    chosen = b.fixed(node, 1).ravel().tolist() if given is None else list(given)
    at = int(chosen[0]) % len(x.axes) if len(chosen) == 1 else -1
    if at < 0 or x.axes[at] not in ("a", "b"):
        raise ModelFileError(f"{where(node)}, over more than time")
    b.sees_time(node, x.axes[at])
    kept = attribute(node, "keepdims", 1)
    axes = tuple("1" if i == at else a for i, a in enumerate(x.axes) if i != at or kept)
    how = "mean" if node.op_type == "ReduceMean" else "max"
    return replace(x, node=b.add("pool", node, (x.node,), {"how": how}), axes=axes)


@rule("Concat")
def _concat(b: Builder, node: Any) -> Flow:
    """Of features, or of directions: of several layers', as torch has its final states."""
    given = [b.flow(node, number) for number in range(len(node.inputs))]
    at, rank = int(attribute(node, "axis", 0)), len(given[0].axes)
    if len(given) > 1 and len({(f.axes, f.width) for f in given}) == 1 and given[0].axes[at % rank] == "D":
        number = b.add("merge", node, tuple(f.node for f in given), {"how": "concat"})
        return replace(given[0], node=number, directions=sum(f.directions for f in given))
    parts = [b.joined(node, b.flow(node, number)) for number in range(len(node.inputs))]
    axes = {part.axes for part in parts}
    if len(axes) != 1 or at % rank != rank - 1 or len(parts) < 2:
        raise ModelFileError(f"{where(node)}, of another axis than the features")
    widths = [None if part.width is None else part.width * part.directions for part in parts]
    if None in widths:
        raise ModelFileError(f"{where(node)}, of values whose features are not known")
    number = b.add("merge", node, tuple(part.node for part in parts), {"how": "concat"})
    return replace(parts[0], node=number, width=sum(w for w in widths if w), directions=1)
