"""Lowerings of what only moves numbers: views, axes changed places, parts, repetitions, joins."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import lowers
from unspool.program.maths import Maths
from unspool.program.operands import aligned, broadcast, check_type, value
from unspool.program.patterns import Pattern, strides

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer


@lowers("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze")
@lowers("clone", "alias", "_to_copy", "lift_fresh")
def _same_numbers(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    check_type(result)
    if result.dtype == torch.float64 != args[0].dtype:
        raise Unsupported(f"a change of type from {args[0].dtype} to {result.dtype}")
    seen = value(t, args[0]).seen_as(tuple(result.shape))
    if result.dtype == torch.bool and args[0].dtype != torch.bool:
        return seen.of(t.graph.each("ne", seen.node, t.graph.const(0.0)))
    if args[0].is_floating_point() and not result.is_floating_point():
        m, most = Maths(t.graph), 2.0**63  # beyond it, and of NaN, the processor makes the smallest number
        return seen.of(m.where(m.lt(m.abs(seen.node), most), m.trunc(seen.node), -most))
    return seen


def permuted(t: Tracer, v: Value, dims: list[int]) -> Value:
    """torch's `permute`."""
    dims = [d % len(v.shape) for d in dims]
    steps = strides(v.sizes)
    entries = [e for d in dims for e in v.entries(d)]
    node = t.graph.take(v.node, Pattern(0, tuple((v.sizes[e], steps[e]) for e in entries)))
    return replace(v, node=node, shape=tuple(v.shape[d] for d in dims), axis=dims.index(v.axis))


@lowers("permute")
def _permute(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    return permuted(t, value(t, args[0]), list(args[1]))


@lowers("t", "transpose")
def _transpose(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v = value(t, args[0])
    dims = list(range(len(v.shape)))
    a, b = args[1:] or (0, -1)
    dims[a], dims[b] = dims[b], dims[a]
    return permuted(t, v, dims)


def part(t: Tracer, v: Value, dim: int, start: int, count: int, step: int = 1) -> Value:
    """`count` entries along an axis of features."""
    dim %= len(v.shape)
    entry, steps = v.feature(dim), strides(v.sizes)
    axes = [list(axis) for axis in zip(v.sizes, steps)]
    axes[entry] = [count, steps[entry] * step]
    node = t.graph.take(v.node, Pattern(start * steps[entry], tuple((n, s) for n, s in axes)))
    return replace(v, node=node, shape=(*v.shape[:dim], count, *v.shape[dim + 1 :]))


def dropped(v: Value, dim: int) -> Value:
    """Without an axis of size 1."""
    return v.without([dim % len(v.shape)], keep=False)


def ordered(t: Tracer, v: Value, dim: int, kept: int, largest: bool, ties: str) -> Value:
    """The places of the first numbers along an axis of features, in order; as wide as `kept` there."""
    dim %= len(v.shape)
    v.feature(dim)
    dims = [d for d in range(len(v.shape)) if d != dim] + [dim]
    turned = permuted(t, v, dims)
    groups = turned.width // v.shape[dim]
    node = t.graph.order(turned.node, groups, kept, largest, ties)
    found = replace(turned, node=node, shape=(*turned.shape[:-1], kept))
    return permuted(t, found, [dims.index(d) for d in range(len(dims))])


@lowers("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes")
def _split(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value]:
    v, dim = value(t, args[0]), args[2] if len(args) > 2 else 0
    parts, at = [], 0
    for tensor in result:
        parts.append(part(t, v, dim, at, tensor.shape[dim]))
        at += tensor.shape[dim]
    return parts


@lowers("unbind")
def _unbind(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value]:
    v, dim = value(t, args[0]), args[1] if len(args) > 1 else 0
    return [dropped(part(t, v, dim, at, 1), dim) for at in range(len(result))]


@lowers("slice")
def _slice(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    given: list[Any] = [*args, *(None, 0, None, None, 1)[len(args) :]]
    tensor, dim, start, stop, step = given
    v = value(t, tensor)
    if result.shape == tensor.shape:
        return v
    low, high, step = slice(start, stop, step).indices(tensor.shape[dim])
    return part(t, v, dim, low, len(range(low, high, step)), step)


@lowers("select")
def _select(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, dim, index = args
    return dropped(part(t, value(t, tensor), dim, index % tensor.shape[dim], 1), dim)


@lowers("diagonal")
def _diagonal(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    given: list[Any] = [*args, *(None, 0, 0, 1)[len(args) :]]
    tensor, offset, a, b = given
    v = value(t, tensor)
    steps = strides(v.sizes)
    one, two = v.feature(a), v.feature(b)
    start = max(offset, 0) * steps[two] + max(-offset, 0) * steps[one]
    axes = [(n, s) for e, (n, s) in enumerate(zip(v.sizes, steps)) if e not in (one, two)]
    axes += [(result.shape[-1], steps[one] + steps[two])]
    rest = v.without([a % len(v.shape), b % len(v.shape)], keep=False)
    return replace(rest, node=t.graph.take(v.node, Pattern(start, tuple(axes))), shape=tuple(result.shape))


@lowers("unfold")
def _unfold(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    """Windows along an axis, each as a last axis."""
    v, (dim, size, step) = value(t, args[0]), args[1:]
    dim %= len(v.shape)
    entry, steps = v.feature(dim), strides(v.sizes)
    axes = [list(axis) for axis in zip(v.sizes, steps)]
    axes[entry] = [result.shape[dim], steps[entry] * step]
    pattern = Pattern(0, (*((n, s) for n, s in axes), (size, steps[entry])))
    return replace(v, node=t.graph.take(v.node, pattern), shape=tuple(result.shape))


@lowers("flip")
def _flip(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v = value(t, args[0])
    steps = strides(v.sizes)
    turned = {v.feature(d) for d in args[1]}
    start = sum((v.sizes[e] - 1) * steps[e] for e in turned)
    axes = tuple((n, -s if e in turned else s) for e, (n, s) in enumerate(zip(v.sizes, steps)))
    return v.of(t.graph.take(v.node, Pattern(start, axes)))


@lowers("roll")
def _roll(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v = value(t, args[0])
    dims = args[2] if len(args) > 2 else ()
    if not dims:
        raise Unsupported("a roll over all axes at once")
    for shift, dim in zip(args[1], dims):
        size = v.shape[dim]
        low = -shift % size
        if low:
            v = joined(t, [part(t, v, dim, low, size - low), part(t, v, dim, 0, low)], dim, v)
    return v


@lowers("expand")
def _expand(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v = value(t, args[0])
    like = Value(-1, tuple(result.shape), t.batch, v.axis + result.dim() - len(v.shape), v.before)
    return like.of(t.graph.spread(broadcast(t, v, like), like.width))


@lowers("repeat")
def _repeat(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v, times = value(t, args[0]), list(args[1])
    v = v.seen_as((1,) * (len(times) - len(v.shape)) + v.shape)
    if times[v.axis] != 1:
        raise Unsupported("a batch that is repeated")
    axes: list[tuple[int, int]] = []
    for count, dim in zip(times, range(len(times))):
        axes.append((count, 0))
        axes += [(v.sizes[e], strides(v.sizes)[e]) for e in v.entries(dim)]
    return replace(v, node=t.graph.take(v.node, Pattern(0, tuple(axes))), shape=tuple(result.shape))


def joined(t: Tracer, parts: list[Value], dim: int, like: Value) -> Value:
    """Parts that lie one after the other along an axis of features of `like`."""
    g, entry = t.graph, like.feature(dim)
    outer, inner = math.prod(like.sizes[:entry]), math.prod(like.sizes[entry + 1 :])
    nodes = [g.spread(p.node, p.width) for p in parts]
    if outer == 1:
        return like.of(g.cat(nodes))
    counts = [p.width // outer for p in parts]
    if len(set(counts)) == 1:
        axes = ((outer, counts[0]), (len(parts), counts[0] * outer), (counts[0], 1))
        return like.of(g.take(g.cat(nodes), Pattern(0, axes)))
    row, at, total = sum(counts), 0, None
    for node, count in zip(nodes, counts):
        placed = g.put(node, like.width, Pattern(at, ((outer, row), (count, 1))))
        total = placed if total is None else g.each("add", total, placed)
        at += count
    assert total is not None and row * outer == like.width and inner
    return like.of(total)


@lowers("cat")
def _cat(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    check_type(result)
    tensors = [tensor for tensor in args[0] if tensor.numel()]
    dim = (args[1] if len(args) > 1 else 0) % result.dim()
    return _join_tensors(t, tensors, dim, result, [tuple(tensor.shape) for tensor in tensors])


@lowers("stack")
def _stack(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    check_type(result)
    dim = (args[1] if len(args) > 1 else 0) % result.dim()
    shape = (*result.shape[:dim], 1, *result.shape[dim + 1 :])
    return _join_tensors(t, list(args[0]), dim, result, [shape] * len(args[0]))


def _join_tensors(
    t: Tracer, tensors: list[Tensor], dim: int, result: Tensor, shapes: list[tuple[int, ...]]
) -> Value:
    first = next(i for i, tensor in enumerate(tensors) if isinstance(t.find(tensor), Value))
    seen = value(t, tensors[first]).seen_as(shapes[first])
    parts = []
    for tensor, shape in zip(tensors, shapes):
        found, like = t.find(tensor), replace(seen, shape=shape)
        if isinstance(found, Value):
            parts.append(like.of(broadcast(t, found.seen_as(shape), like)))
        else:
            made = t.compute(torch.ops.aten.reshape.default, found, shape) if shape != tensor.shape else found
            parts.append(like.of(aligned(t, t.source_tensors[made], like)))
    return joined(t, parts, dim, replace(seen, shape=tuple(result.shape)))


@lowers("glu")
def _glu(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v, dim = value(t, args[0]), args[1] if len(args) > 1 else -1
    half = v.shape[dim] // 2
    a, b = part(t, v, dim, 0, half), part(t, v, dim, half, half)
    return a.of(t.graph.each("mul", a.node, t.graph.each("sigmoid", b.node)))


@lowers("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value | None:
    """One number everywhere: for the batch, or a tensor as if made from nothing."""
    if result.is_meta:
        raise Unsupported("a constant made while tracing without data")
    fill = result.flatten()[0].item()
    made = torch.ops.aten.full.default, (tuple(result.shape), fill), {"dtype": result.dtype, "device": "cpu"}
    t.add_computed(result, *made)
    return t.created(result) if any(n % t.batch == 0 for n in result.shape) else None
