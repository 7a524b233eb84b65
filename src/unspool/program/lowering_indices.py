"""Lowerings of places found by values, and of what is read and written there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program.inner import Inner
from unspool.program.integers import ALL, Range, is_whole, range_of, within
from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import LOWERINGS, lowers
from unspool.program.lowering_composed import at_places, placed
from unspool.program.lowering_products import ATTENTION  # noqa: F401  (its lowering of 'index' comes first)
from unspool.program.lowering_shapes import dropped, ordered
from unspool.program.operands import value

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
    with Inner(t):
        numbers = picked(args[0], result[1], dim)
    return [value(t, numbers), places]


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


def picked(tensor: Tensor, index: Tensor, dim: int) -> Tensor:
    """torch's gather, by comparing each index with every place."""
    dim, size = dim % tensor.dim(), tensor.shape[dim]
    for d in range(tensor.dim()):
        if d != dim and tensor.shape[d] != index.shape[d]:
            tensor = tensor.narrow(d, 0, index.shape[d])
    spread = [d for d in range(1, index.dim()) if d != dim and index.stride(d) == 0]
    if index.dim() == 3 and dim == 1 and spread == [2]:
        return hot(index[:, :, 0], size).to(tensor.dtype) @ tensor
    found = torch.where(hot(index.movedim(dim, -1), size), tensor.movedim(dim, -1).unsqueeze(-2), 0.0)
    return found.sum(-1).movedim(-1, dim)


@lowers("gather")
def _gather(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
    tensor, dim, index = args[:3]
    found = range_of(t, index)
    if found is None or found is ALL:
        within(t, index, tensor.shape[dim])
    with Inner(t):
        made = picked(tensor, index, dim)
        if found is not None and (found.low < 0 or found.high >= tensor.shape[dim]):
            made = torch.where((index >= 0) & (index < tensor.shape[dim]), made, math.nan)
        return value(t, made)


def _put(tensor: Tensor, dim: int, index: Tensor, source: Any, adds: bool) -> Tensor:
    """torch's scatter and scatter_add."""
    at = hot(index.movedim(dim, -1), tensor.shape[dim])
    whole = tensor.movedim(dim, -1)
    if isinstance(source, Tensor) and source.dim():
        for d in range(source.dim()):
            if source.shape[d] != index.shape[d]:
                source = source.narrow(d, 0, index.shape[d])
        source = torch.where(at, source.movedim(dim, -1).unsqueeze(-1), 0.0).sum(-2)
    made = whole + source if adds else torch.where(at.to(torch.float32).sum(-2) > 0, source, whole)
    return made.movedim(-1, dim)


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
    dim %= tensor.dim()
    others = [d for d in range(tensor.dim()) if d != dim and index.shape[d] != tensor.shape[d]]
    if others:
        raise Unsupported(f"a scatter into a part of axis {others[0]}")
    with Inner(t):
        return value(t, _put(tensor, dim, index, source, adds))


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
                turned = torch.where(index < 0, index + tensor.shape[dim], index)
                made = at_places(tensor, dim, turned.reshape(-1))
                return value(t, made.reshape(result.shape))
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
            return value(t, picked(flat, index, 1).reshape(result.shape))
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
