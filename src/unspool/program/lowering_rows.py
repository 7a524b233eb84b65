"""Lowerings of products, reductions over features, and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program.lowering import Unsupported, Value, _check, _width, lowers, operand

if TYPE_CHECKING:
    from unspool.program.trace import Tracer


def _value(t: Tracer, tensor: Any, axes: int | None = 2) -> int:
    found = t.find(tensor)
    if not isinstance(found, Value) or (axes is not None and len(found.shape) != axes):
        raise Unsupported(f"an operand of shape {tuple(tensor.shape)}")
    return found.node


def _feature_axis(dim: Any, tensor: Tensor) -> None:
    dims = [dim] if isinstance(dim, int) else list(dim or [])
    if tensor.dim() != 2 or [d % 2 for d in dims] != [1]:
        raise Unsupported(f"an operation over axes {dims} of a tensor of shape {tuple(tensor.shape)}")


@lowers("mm")
def _mm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    return t.graph.matmul(_value(t, args[0]), t.matrix(args[1]))


@lowers("addmm")
def _addmm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    if kwargs:
        raise Unsupported("a scaled product (addmm with alpha or beta)")
    product = t.graph.matmul(_value(t, args[1]), t.matrix(args[2]))
    return t.graph.each("add", product, operand(t, args[0]))


@lowers("cat")
def _cat(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    _check(t, result)
    _feature_axis(args[1] if len(args) > 1 else 0, result)
    parts = []
    for tensor in args[0]:
        node = operand(t, tensor)
        parts.append(t.graph.spread(node, tensor.shape[1]))
    return t.graph.cat(parts)


@lowers("split", "split_with_sizes", "unbind")
def _split(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[int]:
    dim = args[-1] if len(args) > (1 if result[0].dim() == 1 else 2) else 0
    _feature_axis(dim, args[0])
    node, at, parts = _value(t, args[0]), 0, []
    for tensor in result:
        width = _width(tensor)
        parts.append(t.graph.slice(node, at, at + width))
        at += width
    return parts


@lowers("slice")
def _slice(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    given: list[Any] = [*args, *(None, 0, None, None, 1)[len(args) :]]
    tensor, dim, start, stop, step = given
    if dim % tensor.dim() == 0 and result.shape == tensor.shape:
        return _value(t, tensor, None)
    _feature_axis(dim, tensor)
    if step != 1:
        raise Unsupported("a slice with a step")
    low, high, _ = slice(start, stop).indices(tensor.shape[1])
    return t.graph.slice(_value(t, tensor), low, high)


@lowers("select")
def _select(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    _feature_axis(args[1], args[0])
    at = args[2] % args[0].shape[1]
    return t.graph.slice(_value(t, args[0]), at, at + 1)


@lowers(
    "unsqueeze",
    "squeeze",
    "expand",
    "view",
    "_unsafe_view",
    "reshape",
    "clone",
    "alias",
    "_to_copy",
    "lift_fresh",
)
def _same_rows(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    """Shapes that keep each row: (batch,) and (batch, 1) are the same, (batch, 1) may be spread."""
    _check(t, result)
    node = _value(t, args[0], None)
    if t.graph.width(node) not in (1, _width(result)):
        raise Unsupported(f"a change of shape from {tuple(args[0].shape)} to {tuple(result.shape)}")
    if result.dtype == torch.bool and args[0].dtype != torch.bool:
        node = t.graph.each("ne", node, t.graph.const(0.0))
    return t.graph.spread(node, _width(result))


@lowers("detach")
def _detach(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Any:
    """torch detaches what it keeps for its own backward; a step that goes on with such a tensor is refused."""
    node = _value(t, args[0], None)
    made = t.graph.nodes[node]
    constant = made.op == "const" or (made.op == "copy" and t.graph.nodes[made.args[0]].op == "const")
    if not constant:
        t.refuse(result, "detach, which stops a gradient")
        return None
    return node


@lowers("empty_like", "new_empty")
def _uninitialised(t: Tracer, args: tuple, kwargs: dict, result: Any) -> None:
    t.refuse(result, "uninitialised memory")


@lowers("sum")
def _sum(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    if len(args) < 2:
        raise Unsupported("a sum over the batch")
    _feature_axis(args[1], args[0])
    total = t.graph.row("sum", _value(t, args[0]))
    if result.dtype != args[0].dtype:
        raise Unsupported("a sum of another type")
    return total


@lowers("mean")
def _mean(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    return t.graph.each("mul", _sum(t, args, kwargs, result), t.graph.const(1.0 / args[0].shape[-1]))


def _centred(t: Tracer, node: int) -> int:
    g = t.graph
    mean = g.each("mul", g.row("sum", node), g.const(1.0 / g.width(node)))
    return g.each("sub", node, mean)


@lowers("var", "std")
def _var(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    correction = kwargs.get("correction", 1)
    if len(args) != 2 or not isinstance(correction, (int, float)):
        raise Unsupported("a variance over the batch")
    _feature_axis(args[1], args[0])
    g, centred = t.graph, _centred(t, _value(t, args[0]))
    if args[0].shape[1] <= correction:
        raise Unsupported("a variance over too few features")
    scale = 1.0 / (args[0].shape[1] - correction)
    return g.each("mul", g.row("sum", g.each("mul", centred, centred)), g.const(scale))


@lowers("std")
def _std(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    return t.graph.each("sqrt", _var(t, args, kwargs, result))


@lowers("native_layer_norm")
def _layer_norm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[int | None]:
    tensor, shape, weight, bias, epsilon = args
    if tensor.dim() != 2 or list(shape) != [tensor.shape[1]]:
        raise Unsupported(f"layer_norm over {list(shape)} of a tensor of shape {tuple(tensor.shape)}")
    g, width = t.graph, tensor.shape[1]
    centred = _centred(t, _value(t, tensor))
    variance = g.each("mul", g.row("sum", g.each("mul", centred, centred)), g.const(1.0 / width))
    out = g.each("mul", centred, g.each("rsqrt", g.each("add", variance, g.const(epsilon))))
    if weight is not None:
        out = g.each("mul", out, operand(t, weight))
    if bias is not None:
        out = g.each("add", out, operand(t, bias))
    return [out, None, None]


def _shifted(t: Tracer, args: tuple) -> int:
    """Less its largest entry, which a softmax does not see: no gradient flows through `amax`."""
    _feature_axis(args[1], args[0])
    node = _value(t, args[0])
    return t.graph.each("sub", node, t.graph.row("amax", node))


@lowers("_softmax")
def _softmax(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    g = t.graph
    e = g.each("exp", _shifted(t, args))
    return g.each("mul", e, g.each("div", g.const(1.0), g.row("sum", e)))


@lowers("_log_softmax")
def _log_softmax(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    g = t.graph
    shifted = _shifted(t, args)
    return g.each("sub", shifted, g.each("log", g.row("sum", g.each("exp", shifted))))


@lowers("log_sigmoid_forward")
def _log_sigmoid(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[int | None]:
    g = t.graph
    return [g.each("neg", g.each("softplus", g.each("neg", _value(t, args[0], None)))), None]


@lowers("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(t: Tracer, args: tuple, kwargs: dict, result: Any) -> int:
    _check(t, result)
    if result.is_meta:
        raise Unsupported("a constant made while tracing without data")
    return t.graph.spread(t.graph.const(result.flatten()[0].item()), _width(result))
