"""Operands of the program's operations from those of torch's: numbers, parameters, and values of the batch, spread."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program.layout import Unsupported, Value
from unspool.program.origins import Ref
from unspool.program.patterns import Pattern, strides

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

aten: Any = torch.ops.aten


def check_type(result: Tensor) -> None:
    if result.dtype not in (torch.float32, torch.float64, torch.bool, torch.int64, torch.int32):
        raise Unsupported(f"a value of type {result.dtype}")


def layout(t: Tracer, args: Iterable[Any], result: Tensor) -> Value:
    """Where torch puts the numbers of an elementwise operation's result; its node is yet to be made."""
    check_type(result)
    values = [v for a in args if isinstance(a, Tensor) and isinstance(v := t.find(a), Value)]
    first = values[0]
    axis = first.axis + result.dim() - len(first.shape)
    return Value(-1, tuple(result.shape), t.batch, axis, first.before)


def value(t: Tracer, tensor: Any) -> Value:
    """Of a tensor that must be of the batch."""
    found = t.find(tensor)
    if not isinstance(found, Value):
        raise Unsupported(f"an operand of shape {tuple(tensor.shape)} that is not of the batch")
    return found


def source_of(t: Tracer, tensor: Any) -> int:
    """Of a tensor that must not be of the batch, in float32."""
    found = t.find(tensor)
    if isinstance(found, Value):
        raise Unsupported("a product of two values of the batch")
    return found if tensor.dtype == torch.float32 else t.as_float(found)


def aligned(t: Tracer, arg: Any, like: Value) -> int:
    """The node of a number, a parameter or a value, spread to the row of `like`; a single number stays one."""
    if isinstance(arg, (int, float)):
        return t.graph.const(arg)
    if not isinstance(arg, Tensor):
        raise Unsupported(f"an operand of type {type(arg).__name__}")
    found = t.find(arg)
    return broadcast(t, found, like) if isinstance(found, Value) else _row(t, found, arg, like)


def broadcast(t: Tracer, v: Value, like: Value) -> int:
    more = len(like.shape) - len(v.shape)
    if (v.axis + more, v.before, v.shape[v.axis]) != (like.axis, like.before, like.shape[like.axis]):
        raise Unsupported(f"arithmetic between tensors of shapes {v} and {like} whose batches do not line up")
    if v.width in (1, like.width):
        return v.node
    sizes = (1,) * more + v.sizes
    axes = zip(like.sizes, sizes, strides(sizes))
    return t.graph.take(v.node, Pattern(0, tuple((n, step if n == own else 0) for n, own, step in axes)))


def _row(t: Tracer, source: int, tensor: Tensor, like: Value) -> int:
    """A parameter as a vector."""
    created = t.is_created(source) and not tensor.is_meta and tensor.numel() > 0
    if created and bool((tensor == tensor.flatten()[0]).all()):
        return t.graph.const(tensor.flatten()[0].item())
    if tensor.dtype != torch.float32:
        source = t.as_float(source)
    if all(n == 1 for n in tensor.shape[:-1]) and tensor.numel() in (1, like.width):
        return t.graph.vector([(source, 0, tensor.numel())], tensor.numel())
    at = like.axis - (len(like.shape) - tensor.dim())
    shape = tuple(tensor.shape)
    if at >= 0 and shape[at] == 1:
        shape = (*shape[:at], 1, 1, *shape[at + 1 :])
    elif at >= 0:
        source = one_of_batch(
            t, source, (*shape[:at], like.before, t.batch, like.after, *shape[at + 1 :]), at + 1
        )
        shape = (*shape[:at], like.before, like.after, *shape[at + 1 :])
    if math.prod(shape) == 1:
        return t.graph.vector([(reshaped(t, source, (1,)), 0, 1)], 1)
    spread = t.compute(aten.expand.default, Ref(reshaped(t, source, shape)), like.sizes)
    return t.graph.vector([(reshaped(t, spread, (like.width,)), 0, like.width)], like.width)


def reshaped(t: Tracer, source: int, shape: tuple[int, ...]) -> int:
    if tuple(t.source_tensors[source].shape) == shape:
        return source
    return t.compute(aten.reshape.default, Ref(source), shape)


def one_of_batch(t: Tracer, source: int, shape: tuple[int, ...], at: int) -> int:
    """What a parameter, seen in `shape` and spread over the batch on axis `at`, is for one sequence."""
    tensor = t.source_tensors[source].reshape(shape)
    if not torch.equal(tensor, tensor.select(at, 0).unsqueeze(at).expand(shape)):
        raise Unsupported("a parameter or a constant that differs from sequence to sequence")
    return t.compute(aten.select.int, Ref(reshaped(t, source, shape)), at, 0)
