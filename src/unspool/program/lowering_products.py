"""Lowerings of products: by parameters, between values of one sequence, and of every map that is linear in a value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program.ir import Matrix
from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import LOWERINGS, lowers
from unspool.program.lowering_rows import softmax
from unspool.program.lowering_shapes import permuted
from unspool.program.operands import aligned, layout, one_of_batch, reshaped, source_of, value
from unspool.program.origins import Ref
from unspool.program.patterns import product

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

aten: Any = torch.ops.aten


def _is_value(t: Tracer, tensor: Tensor) -> bool:
    return isinstance(t.find(tensor), Value)


def _plain(t: Tracer, node: int, result: Tensor) -> Value:
    return Value(node, tuple(result.shape), t.batch)


@lowers("mm")
def _mm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    a, b = args
    if _is_value(t, a) and not _is_value(t, b) and value(t, a).plain:
        return _plain(t, t.graph.matmul(value(t, a).node, t.matrix(b)), result)

    def one_more(tensor: Tensor) -> Value | int:
        found = t.find(tensor)
        if isinstance(found, Value):
            return found.seen_as((1, *found.shape))
        return t.compute(aten.unsqueeze.default, Ref(source_of(t, tensor)), 0)

    return _product(t, one_more(a), one_more(b)).seen_as(tuple(result.shape))


@lowers("bmm")
def _bmm(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    a, b = (value(t, a) if _is_value(t, a) else source_of(t, a) for a in args)
    return _product(t, a, b)


def _product(t: Tracer, a: Value | int, b: Value | int) -> Value:
    """(N, I, K) by (N, K, J), each a value of the batch or a source."""
    if isinstance(a, Value) and isinstance(b, Value):
        if (a.axis, b.axis, a.before, a.shape[0]) != (0, 0, b.before, b.shape[0]):
            raise Unsupported("a product of two values of the batch, over different sequences")
        how = product(a.before * a.after, a.shape[1], b.shape[2], a.shape[2])
        return Value(
            t.graph.contraction(a.node, b.node, how), (*a.shape[:2], b.shape[2]), t.batch, 0, a.before
        )
    if isinstance(a, Value):
        assert isinstance(b, int)
        return _by_source(t, a, b)
    assert isinstance(b, Value)
    turned = t.compute(aten.transpose.int, Ref(a), 1, 2)
    return permuted(t, _by_source(t, permuted(t, b, [0, 2, 1]), turned), [0, 2, 1])


def _by_source(t: Tracer, v: Value, source: int) -> Value:
    """(N, I, K) of the batch by (N, K, J) of parameters: a product for each n and i."""
    if v.axis == 2:
        raise Unsupported("a sum over the batch")
    count, inner, width = t.source_tensors[source].shape
    if v.axis == 0:
        source = one_of_batch(t, source, (v.before, t.batch, v.after, inner, width), 1)
        count = v.before * v.after
    flat = reshaped(t, source, (count * inner, width))
    rows = v.width // (count * inner)
    parts = []
    for n in range(count):
        matrix = Matrix(flat, (n * inner, (n + 1) * inner), (0, width), False)
        for at in range(n * rows * inner, (n + 1) * rows * inner, inner):
            parts.append(t.graph.matmul(t.graph.slice(v.node, at, at + inner), matrix))
    return Value(t.graph.cat(parts), (*v.shape[:2], width), t.batch, v.axis, v.before)


ATTENTION = frozenset(["_scaled_dot_product_flash_attention_for_cpu"])


@lowers(*ATTENTION)
def _attention(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Any]:
    """softmax(q kᵀ scale) v; q (B, h, L, d), k and v (B, h, S, d)."""
    q, k, v = (value(t, a) for a in args[:3])
    batch, heads, length, size = q.shape
    q, k, v = (part.seen_as((batch * heads, *part.shape[2:])) for part in (q, k, v))
    scale = kwargs.get("scale")
    scores = _product(t, q, permuted(t, k, [0, 2, 1]))
    g = t.graph
    scores = scores.of(g.each("mul", scores.node, g.const(size**-0.5 if scale is None else scale)))
    four = scores.seen_as((batch, heads, length, args[1].shape[2]))
    if kwargs.get("attn_mask") is not None:
        scores = scores.of(g.each("add", scores.node, aligned(t, kwargs["attn_mask"], four)))
    if args[4:5] and args[4]:
        rows, columns = length, args[1].shape[2]
        numbers = [0.0 if j <= i else -math.inf for i in range(rows) for j in range(columns)]
        mask = reshaped(t, t.constant(numbers), (rows, columns))
        scores = scores.of(g.each("add", scores.node, aligned(t, t.source_tensors[mask], four)))
    out = _product(t, softmax(t, scores, -1), v)
    return [out.seen_as((batch, heads, length, size)), *(None for _ in result[1:])]


@lowers("addmm", "baddbmm")
def _add_product(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    if kwargs:
        raise Unsupported("a scaled product (addmm with alpha or beta)")
    bias, a, b = args
    if _is_value(t, a) or _is_value(t, b):
        made = LOWERINGS["mm" if a.dim() == 2 else "bmm"](t, (a, b), {}, result)
        return made.of(t.graph.each("add", made.node, aligned(t, bias, made)))
    func = (aten.mm if a.dim() == 2 else aten.bmm).default
    fixed = t.compute(func, Ref(source_of(t, a)), Ref(source_of(t, b)))
    like = layout(t, [bias], result)
    return like.of(t.graph.each("add", aligned(t, bias, like), aligned(t, t.source_tensors[fixed], like)))


@lowers("mv")
def _mv(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    v = value(t, args[0])
    column = reshaped(t, source_of(t, args[1]), (1, args[1].numel(), 1))
    return _product(t, v.seen_as((1, *v.shape)), column).seen_as(tuple(result.shape))


@lowers("_trilinear")
def _trilinear(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    """torch's bilinear: y[o] = Σ a[i] W[o, i, j] b[j]."""
    a, weight, b, *axes = args
    if axes[:4] != [[1, 3], [0], [1, 2], [2, 3]] or not (_is_value(t, a) and _is_value(t, b)):
        raise Unsupported("a product of three tensors other than torch's bilinear")
    out, left, right = weight.shape
    turned = t.compute(aten.permute.default, Ref(source_of(t, weight)), [1, 0, 2])
    matrix = Matrix(reshaped(t, turned, (left, out * right)), (0, left), (0, out * right), False)
    first = t.graph.matmul(value(t, a).node, matrix)
    return _plain(t, t.graph.contraction(first, value(t, b).node, product(1, out, 1, right)), result)


def linear(*names: str) -> None:
    """Operations that are linear in their first argument: a product by what they make of the identity."""

    def lower(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
        v, name = value(t, args[0]), t.func.overloadpacket.__name__
        if v.axis or v.before * v.after != 1 or result.shape[:1] != (t.batch,):
            raise Unsupported(f"'aten.{name}' over the batch")
        eye = t.compute(aten.eye.default, v.width, dtype=torch.float32, device="cpu")
        rest = [_linear_argument(t, arg) for arg in args[1:]]
        made = t.compute(t.func, Ref(reshaped(t, eye, (v.width, *v.shape[1:]))), *rest, **kwargs)
        width = math.prod(result.shape[1:])
        matrix = Matrix(reshaped(t, made, (v.width, width)), (0, v.width), (0, width), False)
        return _plain(t, t.graph.matmul(v.node, matrix), result)

    for name in names:
        LOWERINGS[name] = lower


def _linear_argument(t: Tracer, arg: Any) -> Any:
    if isinstance(arg, (tuple, list)):
        return type(arg)(_linear_argument(t, a) for a in arg)
    if not isinstance(arg, Tensor):
        return arg
    found = t.find(arg)
    if isinstance(found, Value):
        raise Unsupported("an index or a weight taken from the values of the batch")
    return Ref(found)


linear("cumsum", "im2col", "index", "avg_pool2d", "_adaptive_avg_pool2d")
linear("upsample_nearest1d", "upsample_linear1d")


@lowers("convolution")
def _convolution(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, weight, bias, *rest = args
    made = LOWERINGS["avg_pool2d"](t, (tensor, weight, None, *rest), kwargs, result)
    if bias is None:
        return made
    column = reshaped(t, source_of(t, bias), (bias.numel(), *(1,) * (result.dim() - 2)))
    return made.of(t.graph.each("add", made.node, aligned(t, t.source_tensors[column], made)))
