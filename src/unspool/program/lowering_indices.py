"""Lowerings of places found by values, and of what is read and written there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unspool.program.inner import Inner
from unspool.program.integers import ALL, Range, is_whole, range_of, within
from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import LOWERINGS, lowers
from unspool.program.lowering_composed import placed
from unspool.program.lowering_products import ATTENTION  # noqa: F401  (its lowering of 'index' comes first)
from unspool.program.lowering_shapes import dropped, ordered
from unspool.program.maths import Maths
from unspool.program.operands import aligned, value
from unspool.program.patterns import strides

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

ROWS = 4096  # of a table whose rows are chosen by values: a choice is a product by all of them
OPEN = "the places that torch.sort finds, which leaves open how equal numbers stand (stable=True says it)"


def _places(name: str, largest: bool) -> None:
    @lowers(name)
    def lower(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
        given: list[Any] = [*args[1:], *(None, False)[len(args) - 1 :]]
        dim, keep = given
        if dim is None:
            raise Unsupported(f"'aten.{name}' of all numbers: over the batch")
        found = ordered(t, value(t, args[0]), dim, 1, largest, "stable")
        return found if keep else dropped(found, dim)


_places("argmax", True)
_places("argmin", False)


def _sorted(t: Tracer, args: tuple, result: Any, dim: int, places: Value, unique: Range) -> list[Value]:
    """Numbers and their places, where the numbers are read at the places."""
    t.add_value(result[1], places)
    t.ranges[id(result[1])] = unique
    return [picked(t, args[0], result[1], dim), places]


@lowers("topk")
def _topk(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value]:
    given: list[Any] = [*args, *(None, None, -1, True, True)[len(args) :]]
    tensor, kept, dim, largest, in_order = given
    dim, size = dim % tensor.dim(), tensor.shape[dim]
    places = ordered(t, value(t, tensor), dim, kept, largest, "topk" if in_order else "topk unsorted")
    return _sorted(t, args, result, dim, places, Range(0, size - 1, dim))


@lowers("sort")
def _sort(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[Value | None]:
    given: list[Any] = [*args[1:], *(-1, False)[len(args) - 1 :]]
    dim, descending = kwargs.get("dim", given[0]), kwargs.get("descending", given[1])
    dim, size = dim % args[0].dim(), args[0].shape[dim]
    places = ordered(t, value(t, args[0]), dim, size, descending, "stable")
    numbers, _ = _sorted(t, args, result, dim, places, Range(0, size - 1, dim))
    if not kwargs.get("stable"):
        t.refuse(result[1], OPEN)
        return [numbers, None]
    return [numbers, places]


def hot(index: Tensor, size: int) -> Tensor:
    """(..., size) of truth: at which of `size` places each index points."""
    return index.unsqueeze(-1) == torch.arange(size)


def places_in(t: Tracer, index: Tensor, of: Value, dim: int) -> tuple[Value, int]:
    """For an index along an axis, as torch's gather takes it: the place in the row of each number; and its shape."""
    dim %= len(of.shape)
    like = replace(of, node=-1, shape=tuple(index.shape))
    if like.sizes[like.axis : like.axis + 2] != of.sizes[of.axis : of.axis + 2]:
        raise Unsupported("an index by values over the batch")
    entry, steps = of.feature(dim), strides(of.sizes)
    base = np.zeros(like.sizes)
    for e, (size, step) in enumerate(zip(like.sizes, steps)):
        if e != entry:
            base = base + (np.arange(size) * step).reshape([-1 if d == e else 1 for d in range(len(steps))])
    g = t.graph
    own = g.spread(aligned(t, index, like), like.width)
    own = g.each("mul", own, g.const(float(steps[entry])))
    if base.any():
        own = g.each(
            "add", own, g.vector([(t.constant(base.reshape(-1).tolist()), 0, like.width)], like.width)
        )
    return like, own


def picked(t: Tracer, tensor: Tensor, index: Tensor, dim: int) -> Value:
    """torch's gather."""
    v = value(t, tensor)
    like, places = places_in(t, index, v, dim)
    return like.of(t.graph.pick(v.node, places))


@lowers("gather")
def _gather(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, dim, index = args[:3]
    chosen = isinstance(t.find(index), Value)
    found = range_of(t, index) if chosen else None
    if chosen and (found is None or found is ALL):
        within(t, index, tensor.shape[dim])
    if not isinstance(t.find(tensor), Value):
        return _of_source(t, tensor, dim, index)
    made = picked(t, tensor, index, dim)
    if found is not None and (found.low < 0 or found.high >= tensor.shape[dim]):
        m = Maths(t.graph)
        own = t.graph.spread(aligned(t, index, made), made.width)
        return made.of(m.where(m.between(own, -1.0, float(tensor.shape[dim])), made.node, math.nan))
    return made


def _of_source(t: Tracer, tensor: Tensor, dim: int, index: Tensor) -> Value:
    """Numbers of a parameter at places that are values."""
    if index.shape[:dim] + index.shape[dim + 1 :] != tensor.shape[:dim] + tensor.shape[dim + 1 :]:
        raise Unsupported("a gather from a part of a parameter")
    within(t, index, tensor.shape[dim])
    with Inner(t):
        at = hot(index.movedim(dim, -1), tensor.shape[dim])
        return value(t, torch.where(at, tensor.movedim(dim, -1).unsqueeze(-2), 0.0).sum(-1).movedim(-1, dim))


@lowers("scatter")
def _scatter(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, dim, index, source = args[:4]
    if kwargs or len(args) > 4:
        raise Unsupported("'aten.scatter' with a reduction")
    dim %= tensor.dim()
    if within(t, index, tensor.shape[dim]).unique != dim and index.shape[dim] > 1:
        raise Unsupported("a scatter whose places may be the same")
    return _scattered(t, tensor, dim, index, source, False)


@lowers("scatter_add")
def _scatter_add(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, dim, index, source = args
    if isinstance(t.find(index), Value):
        within(t, index, tensor.shape[dim])
    return _scattered(t, tensor, dim, index, source, True)


def _scattered(t: Tracer, tensor: Tensor, dim: int, index: Tensor, source: Any, adds: bool) -> Value:
    found, g = t.find(tensor), t.graph
    if isinstance(found, Value):
        like = found
    else:
        known = t.find(index) if isinstance(t.find(index), Value) else t.find(source)
        assert isinstance(known, Value)
        like = replace(known, node=-1, shape=tuple(tensor.shape))
    of, places = places_in(t, index, like, dim)
    if isinstance(source, Tensor) and source.dim():
        for d in range(source.dim()):
            if source.shape[d] != index.shape[d]:
                with Inner(t):
                    source = source.narrow(d, 0, index.shape[d])
    given = g.spread(aligned(t, source, of), of.width)
    own = g.spread(aligned(t, tensor, like), like.width)
    put = g.drop(given, places, like.width)
    if adds:
        return like.of(g.each("add", own, put))
    hit = g.drop(g.spread(g.const(1.0), of.width), places, like.width)
    return like.of(g.each("where", hit, put, own))


def _of_sequences(t: Tracer, index: Any) -> bool:
    """Whether an index is `torch.arange(batch)`: each sequence's own."""
    if not is_whole(index) or index.dtype == torch.bool or tuple(index.shape) != (t.batch,):
        return False
    found = t.find(index)
    if isinstance(found, Value) or not t.is_created(found):
        return False
    return bool((index == torch.arange(t.batch)).all())


def _rows(t: Tracer, table: Tensor, index: Tensor) -> Value:
    if table.shape[0] > ROWS:
        raise Unsupported(f"a choice by values among {table.shape[0]} rows, more than {ROWS}")
    within(t, index, table.shape[0])
    with Inner(t):
        flat = table.reshape(table.shape[0], -1)
        made = hot(index, table.shape[0]).to(table.dtype) @ flat
        return value(t, made.reshape(*index.shape, *table.shape[1:]))


def at_places(t: Tracer, tensor: Tensor, dim: int, index: Tensor) -> Value:
    """Parts of an axis at places that are the same for all."""
    dim %= tensor.dim()
    shape = [len(index) if d == dim else n for d, n in enumerate(tensor.shape)]
    with Inner(t):
        spread = index.reshape([-1 if d == dim else 1 for d in range(tensor.dim())]).expand(shape)
    return picked(t, tensor, spread, dim)


@lowers("index_select")
def _index_select(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, dim, index = args
    if isinstance(t.find(index), Value):
        raise Unsupported("an index by values over the batch")
    return at_places(t, tensor, dim, index)


_fixed_index = LOWERINGS["index"]
MASKED = (
    "a choice by a mask, as large as its values say; torch.where(mask, a, b) chooses among as many numbers"
)


@lowers("index")
def _index(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, indices = args
    if not any(isinstance(i, Tensor) and isinstance(t.find(i), Value) for i in indices):
        given = [(d, index) for d, index in enumerate(indices) if index is not None]
        if len(given) == 1 and is_whole(given[0][1]) and given[0][1].dtype != torch.bool:
            dim, index = given[0]
            with Inner(t):
                index = torch.where(index < 0, index + tensor.shape[dim], index).reshape(-1)
            return at_places(t, tensor, dim, index).seen_as(tuple(result.shape))
        return _fixed_index(t, args, kwargs, result)
    if any(i is not None and i.dtype == torch.bool for i in indices):
        raise Unsupported(MASKED)
    if len(indices) == 1 and not isinstance(t.find(tensor), Value):
        return _rows(t, tensor, indices[0])
    if len(indices) == 2 and _of_sequences(t, indices[0]) and indices[1].dim() == 1:
        within(t, indices[1], tensor.shape[1])
        with Inner(t):
            flat = tensor.reshape(tensor.shape[0], tensor.shape[1], -1)
            index = indices[1].reshape(-1, 1, 1).expand(-1, 1, flat.shape[2])
        return picked(t, flat, index, 1).seen_as(tuple(result.shape))
    raise Unsupported("an index by values over the batch")


@lowers("index_put")
def _index_put(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, indices, source = args[:3]
    first = indices[0]
    if (len(args) > 3 and args[3]) or kwargs:
        raise Unsupported("'aten.index_put' that adds")
    if len(indices) == 1 and first is not None and first.dtype == torch.bool:
        if source.numel() != 1:
            raise Unsupported(MASKED)
        with Inner(t):
            mask = first.reshape(*first.shape, *(1,) * (tensor.dim() - first.dim()))
            return value(t, torch.where(mask, source.reshape(()), tensor))
    if len(indices) == 2 and _of_sequences(t, first) and is_whole(indices[1]) and indices[1].dim() == 1:
        within(t, indices[1], tensor.shape[1])
        with Inner(t):
            at = hot(indices[1], tensor.shape[1])
            at = at.reshape(*at.shape, *(1,) * (tensor.dim() - 2))
            return value(t, torch.where(at, source.unsqueeze(1) if source.dim() else source, tensor))
    given = [d for d, place in enumerate(indices) if place is not None]
    fixed = len(given) == 1 and is_whole(indices[given[0]]) and indices[given[0]].dim() == 1
    if fixed and indices[given[0]].dtype != torch.bool and not isinstance(t.find(indices[given[0]]), Value):
        with Inner(t):
            index = indices[given[0]]
            index = torch.where(index < 0, index + tensor.shape[given[0]], index)
            return value(t, placed(tensor, given[0], index, source))
    raise Unsupported("'aten.index_put' with these indices")


@lowers("embedding")
def _embedding(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    given: list[Any] = [*args, *(None, None, -1, False, False)[len(args) :]]
    table, index, blank = given[:3]
    if isinstance(t.find(table), Value):
        raise Unsupported("an embedding whose table is made of values of the batch")
    if blank >= 0:
        with Inner(t):
            table = torch.where((torch.arange(table.shape[0]) == blank).unsqueeze(1), table.detach(), table)
    return _rows(t, table, index)
