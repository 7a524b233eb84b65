"""Lowerings of reductions over axes of features, and of what is written with them: norms, softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import lowers
from unspool.program.lowering_shapes import dropped, ordered, part
from unspool.program.maths import Maths
from unspool.program.operands import aligned, layout, reshaped, source_of, value
from unspool.program.patterns import Pattern, strides

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer


class Groups:
    """The numbers of a value that a reduction over some of its axes brings together."""

    def __init__(self, t: Tracer, v: Value, dims: Any) -> None:
        dims = [dims] if isinstance(dims, int) else list(dims or [])
        if not dims:
            raise Unsupported(f"an operation over all axes of a tensor of shape {v}: over the batch")
        self.graph, self.value = t.graph, v
        self.dims = sorted({d % max(len(v.shape), 1) for d in dims})
        self.gone = {v.feature(d) for d in self.dims}
        rest = [n for e, n in enumerate(v.sizes) if e not in self.gone]
        self.count, self.size = math.prod(rest), math.prod(v.sizes[e] for e in self.gone)
        steps = iter(strides(rest))
        axes = tuple((n, 0 if e in self.gone else next(steps)) for e, n in enumerate(v.sizes))
        self.pattern = Pattern(0, axes)  # where each number's group is

    def sum(self, node: int) -> int:
        return (
            self.graph.row("sum", node) if self.count == 1 else self.graph.put(node, self.count, self.pattern)
        )

    def spread(self, node: int) -> int:
        """A number of each group, for each number of the group."""
        return node if self.count == 1 else self.graph.take(node, self.pattern)

    def mean(self, node: int) -> int:
        return self.graph.each("mul", self.sum(node), self.graph.const(1.0 / self.size))

    def largest(self, node: int) -> int:
        """Without a gradient."""
        steps = list(zip(self.value.sizes, strides(self.value.sizes)))
        kept = [axis for e, axis in enumerate(steps) if e not in self.gone]
        inner = [axis for e, axis in enumerate(steps) if e in self.gone]
        return self.graph.largest(self.graph.take(node, Pattern(0, (*kept, *inner))), self.count)

    def centred(self, node: int) -> int:
        return self.graph.each("sub", node, self.spread(self.mean(node)))

    def shifted(self, node: int) -> int:
        """Less the largest of the group, which a softmax does not see: no gradient flows through it."""
        return self.graph.each("sub", node, self.spread(self.largest(node)))

    def result(self, node: int, keep: bool) -> Value:
        return self.value.without(self.dims, keep).of(node)


def _groups(t: Tracer, args: tuple, result: Any, at: int = 1) -> tuple[Groups, int, bool]:
    """The groups, the node that is reduced, and whether the axes stay, with one entry."""
    v = value(t, args[0])
    groups = Groups(t, v, args[at] if len(args) > at else None)
    return groups, v.node, result.dim() == len(v.shape)


@lowers("sum")
def _sum(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    if result.dtype != args[0].dtype and args[0].is_floating_point():
        raise Unsupported("a sum of another type")
    groups, node, keep = _groups(t, args, result)
    return groups.result(groups.sum(node), keep)


@lowers("mean")
def _mean(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    groups, node, keep = _groups(t, args, result)
    return groups.result(groups.mean(node), keep)


@lowers("var")
def _var(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    correction = kwargs.get("correction", 1)
    if not isinstance(correction, (int, float)):
        raise Unsupported("a variance with this correction")
    groups, node, keep = _groups(t, args, result)
    if groups.size <= correction:
        raise Unsupported("a variance over too few features")
    g = t.graph
    # Less its first entry a constant row is 0, and so is its variance.
    start = g.each("stop", g.slice(node, 0, 1))
    centred = groups.centred(g.each("sub", node, start) if groups.count == 1 else node)
    squares = groups.sum(g.each("mul", centred, centred))
    return groups.result(g.each("mul", squares, g.const(1.0 / (groups.size - correction))), keep)


@lowers("std")
def _std(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    variance = _var(t, args, kwargs, result)
    return variance.of(_root(t, variance.node))


def _extreme(t: Tracer, args: tuple, result: Any, sign: int, first: bool) -> Value:
    """The largest (sign 1) or smallest (-1) number; its gradient goes to the first, or equally to all that are."""
    groups, node, keep = _groups(t, args, result)
    g = t.graph
    turned = node if sign > 0 else g.each("neg", node)
    chosen = g.each("eq", turned, groups.spread(groups.largest(turned)))
    if first:
        width = groups.value.width
        order = g.vector([(t.constant(map(float, range(width))), 0, width)], width)
        back = g.each("where", chosen, g.each("neg", order), g.const(-float(width)))
        chosen = g.each("mul", chosen, g.each("eq", back, groups.spread(groups.largest(back))))
    total = groups.sum(g.each("where", chosen, node, g.const(0.0)))
    return groups.result(total if first else g.each("div", total, groups.sum(chosen)), keep)


FEW = 8


def _extreme_of_few(t: Tracer, v: Value, dim: int, sign: int) -> Value:
    """One after the other, which is faster for groups of a few: the first of equal ones stays, NaN is the largest."""
    m = Maths(t.graph)
    best = part(t, v, dim, 0, 1)
    for k in range(1, v.shape[dim]):
        other = part(t, v, dim, k, 1)
        better = (m.gt if sign > 0 else m.lt)(other.node, best.node)
        better = m.max(better, m.ne(other.node, other.node))
        best = best.of(m.where(better, other.node, best.node))
    return best


@lowers("amax")
def _amax(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    return _extreme(t, args, result, 1, False)


@lowers("amin")
def _amin(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    return _extreme(t, args, result, -1, False)


@lowers("max")
def _max(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value]:
    return _extreme_and_place(t, args, result, 1)


@lowers("min")
def _min(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value]:
    return _extreme_and_place(t, args, result, -1)


def _extreme_and_place(t: Tracer, args: tuple, result: Any, sign: int) -> list[Value]:
    if not isinstance(result, tuple):
        raise Unsupported("the largest or smallest number of all: over the batch")
    if args[0].shape[args[1]] <= FEW:
        found = _extreme_of_few(t, value(t, args[0]), args[1], sign)
        found = found if result[0].dim() == args[0].dim() else dropped(found, args[1])
    else:
        found = _extreme(t, args, result[0], sign, True)
    place = ordered(t, value(t, args[0]), args[1], 1, sign > 0, "stable")
    return [found, place if result[0].dim() == args[0].dim() else dropped(place, args[1])]


@lowers("linalg_vector_norm", "norm")
def _norm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    """Its gradient is 0 where all numbers are, as torch has it."""
    order = args[1] if len(args) > 1 else 2
    if order not in (1, 2):
        raise Unsupported(f"a norm of order {order}")
    groups, node, keep = _groups(t, args, result, at=2)
    g = t.graph
    if order == 1:
        return groups.result(groups.sum(g.each("abs", node)), keep)
    return groups.result(_root(t, groups.sum(g.each("mul", node, node))), keep)


def _root(t: Tracer, square: int) -> int:
    """Its square root; no gradient passes where that is 0, as in torch's std and norm."""
    g, zero = t.graph, t.graph.const(0.0)
    none = g.each("eq", square, zero)
    return g.each("where", none, zero, g.each("sqrt", g.each("where", none, g.const(1.0), square)))


def _normalised(t: Tracer, groups: Groups, node: int, epsilon: float) -> int:
    g = t.graph
    centred = groups.centred(node)
    variance = groups.mean(g.each("mul", centred, centred))
    return g.each("mul", centred, groups.spread(g.each("rsqrt", g.each("add", variance, g.const(epsilon)))))


def _scaled(t: Tracer, node: int, weight: Any, bias: Any, like: Value) -> int:
    for op, tensor in (("mul", weight), ("add", bias)):
        if tensor is not None:
            node = t.graph.each(op, node, aligned(t, tensor, like))
    return node


@lowers("native_layer_norm")
def _layer_norm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value | None]:
    tensor, shape, weight, bias, epsilon = args
    v = value(t, tensor)
    groups = Groups(t, v, [-1 - d for d in range(len(shape))])
    return [v.of(_scaled(t, _normalised(t, groups, v.node, epsilon), weight, bias, v)), None, None]


@lowers("_fused_rms_norm")
def _rms_norm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value | None]:
    tensor, shape, weight, epsilon = args
    v, g = value(t, tensor), t.graph
    groups = Groups(t, v, [-1 - d for d in range(len(shape))])
    epsilon = torch.finfo(tensor.dtype).eps if epsilon is None else epsilon
    root = g.each("rsqrt", g.each("add", groups.mean(g.each("mul", v.node, v.node)), g.const(epsilon)))
    return [v.of(_scaled(t, g.each("mul", v.node, groups.spread(root)), weight, None, v)), None]


@lowers("native_group_norm")
def _group_norm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value | None]:
    tensor, weight, bias, _, channels, _, count, epsilon = args
    v = value(t, tensor)
    parted = v.seen_as((v.shape[0], count, -(-v.width // count)))
    node = _normalised(t, Groups(t, parted, [2]), v.node, epsilon)
    shape = (channels, *(1,) * (len(v.shape) - 2))
    scale, shift = (
        None if w is None else t.source_tensors[reshaped(t, source_of(t, w), shape)] for w in (weight, bias)
    )
    return [v.of(_scaled(t, node, scale, shift, v)), None, None]


@lowers("_softmax")
def _softmax(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    return softmax(t, value(t, args[0]), args[1])


def softmax(t: Tracer, v: Value, dim: int) -> Value:
    groups, g = Groups(t, v, dim), t.graph
    e = g.each("exp", groups.shifted(v.node))
    share = g.each("div", g.const(1.0), groups.sum(e))
    return groups.value.of(g.each("mul", e, groups.spread(share)))


@lowers("_log_softmax")
def _log_softmax(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    groups, node, _ = _groups(t, args, result)
    g = t.graph
    shifted = groups.shifted(node)
    total = g.each("log", groups.sum(g.each("exp", shifted)))
    return groups.value.of(g.each("sub", shifted, groups.spread(total)))


@lowers("logsumexp")
def _logsumexp(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    groups, node, keep = _groups(t, args, result)
    g = t.graph
    total = g.each("log", groups.sum(g.each("exp", groups.shifted(node))))
    return groups.result(g.each("add", total, groups.largest(node)), keep)


@lowers("log_sigmoid_forward")
def _log_sigmoid(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value | None]:
    g, v = t.graph, layout(t, args[:1], result[0])
    return [v.of(g.each("neg", g.each("softplus", g.each("neg", value(t, args[0]).node)))), None]


@lowers("detach")
def _detach(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v = value(t, args[0])
    return v.of(t.graph.each("stop", v.node))
