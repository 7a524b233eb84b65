"""Whole numbers in a step: places that `argmax`, `topk` or `sort` find, counts, and what is computed from them.

The program holds them as float32. So each has a range that is known while tracing and in which float32 is exact, or is
a float32 number whose fraction was cut off; an index must be known to lie within what it points into.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program import failures
from unspool.program.layout import Unsupported, Value
from unspool.program.lowering import lowers
from unspool.program.origins import leaves

if TYPE_CHECKING:
    from unspool.program.tracer import Tracer

TYPES = (torch.int64, torch.int32)
EXACT = 1 << 24  # up to which float32 has every whole number
_MOVES = frozenset(
    """view _unsafe_view reshape _reshape_alias unsqueeze squeeze clone alias lift_fresh permute t transpose expand
    repeat slice select split split_with_sizes unsafe_split unbind flip roll diagonal detach cat stack index gather
    copy where masked_fill maximum minimum amax amin scatter index_put fill zero""".split()
)  # each number of the result is one of an operand's
_KEEP = frozenset("clone alias detach expand".split())  # their axes are those of the operand


@dataclass(frozen=True)
class Range:
    """The smallest and the largest that whole numbers can be; unique: an axis along which no two are equal."""

    low: float
    high: float
    unique: int | None = None


ALL = Range(-(2.0**63), 2.0**63)


def is_whole(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex()


def note(t: Tracer, name: str, args: Any, kwargs: Any, results: Iterable[tuple[Any, Any]]) -> None:
    """Keep the ranges of results, (tensor, value), of whole numbers.

    `Unsupported` where one is not known or too large for float32.
    """
    name = name.removesuffix("_")
    for tensor, value in results:
        if value is None or not is_whole(tensor) or tensor.dtype == torch.bool:
            continue
        if tensor.dtype not in TYPES:
            raise Unsupported(f"a value of type {tensor.dtype}")
        made = t.ranges.get(id(tensor)) if name in ("topk", "sort") else _range(t, name, args, kwargs)
        if made is None:
            raise Unsupported(f"'aten.{name}' that gives whole numbers ({tensor.dtype})")
        if made is not ALL and max(abs(made.low), abs(made.high)) > EXACT:
            raise Unsupported(
                f"whole numbers up to {max(-made.low, made.high):.3g}, more than float32 has exactly"
            )
        t.ranges[id(tensor)] = made


def range_of(t: Tracer, operand: Any) -> Range | None:
    """Of a number or a tensor; None where it is not known, or changes from call to call."""
    if isinstance(operand, (int, float)):
        return Range(operand, operand)
    if not isinstance(operand, Tensor) or operand.is_floating_point():
        return None
    if operand.dtype == torch.bool:
        return Range(0, 1)
    if id(operand) in t.ranges:
        return t.ranges[id(operand)]
    found = t.find(operand)
    if isinstance(found, Value) or not t.is_created(found) or not operand.numel():
        return None
    return Range(float(operand.min()), float(operand.max()))


def _range(t: Tracer, name: str, args: Any, kwargs: Any) -> Range | None:
    if name in ("argmax", "argmin", "max", "min"):
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return None if dim is None else Range(0, args[0].shape[dim] - 1)
    if name in ("bucketize", "searchsorted"):
        return Range(0, args[0 if name == "searchsorted" else 1].numel())
    if name == "_to_copy":
        return ALL if args[0].is_floating_point() else range_of(t, args[0])
    if name in _MOVES:
        operands: list[Any] = [a for a in leaves(args) if isinstance(a, Tensor)]
        if name in ("gather", "index", "where", "masked_fill", "scatter", "index_put"):
            operands = [a for a in operands if is_whole(a) and a.dtype != torch.bool]
            operands += [a for a in leaves(args[2:]) if isinstance(a, (int, float))]
        made = _union([range_of(t, operand) for operand in operands])
        if made is None or made.unique is None or name in _KEEP:
            return made
        if name == "unsqueeze":
            at = args[1] % (args[0].dim() + 1)
            return replace(made, unique=made.unique + (at <= made.unique))
        return replace(made, unique=None)
    ranges = [range_of(t, operand) for operand in args if not isinstance(operand, (tuple, list))]
    if name in ("sum", "cumsum"):
        size = args[0].numel() // t.batch
        found = range_of(t, args[0])
        return None if found is None else Range(min(found.low * size, 0), max(found.high * size, 0))
    if name in ("clamp", "clamp_min", "clamp_max"):
        return _clamped(name, ranges, kwargs)
    if name in ("remainder", "floor_divide", "div") and len(ranges) > 1:
        return _divided(name, ranges[0], ranges[1])
    if any(found is None or found is ALL for found in ranges) or kwargs:
        return None
    if name in ("add", "sub", "rsub", "mul", "neg", "abs"):
        corners = [_arithmetic(name, a, b) for a in _ends(ranges[0]) for b in _ends(ranges[-1])]
        return Range(min(corners), max(corners))
    return None


def _ends(found: Range | None) -> tuple[float, float]:
    assert found is not None
    return found.low, found.high


def _arithmetic(name: str, a: float, b: float) -> float:
    if name in ("neg", "abs"):
        return -a if name == "neg" else abs(a) if a * b > 0 else 0.0 if a != b else abs(a)
    return {"add": a + b, "sub": a - b, "rsub": b - a, "mul": a * b}[name]


def _union(ranges: list[Range | None]) -> Range | None:
    if not ranges or any(found is None for found in ranges):
        return None
    if any(found is ALL for found in ranges):
        return ALL
    known = [found for found in ranges if found is not None]
    unique = known[0].unique if len(known) == 1 else None
    return Range(min(f.low for f in known), max(f.high for f in known), unique)


def _clamped(name: str, ranges: list[Range | None], kwargs: Any) -> Range | None:
    found = ranges[0]
    given: list[Any] = [*ranges[1:], None, None]
    low, high = (None, given[0]) if name == "clamp_max" else (given[0], given[1])
    low = Range(kwargs["min"], kwargs["min"]) if kwargs.get("min") is not None else low
    high = Range(kwargs["max"], kwargs["max"]) if kwargs.get("max") is not None else high
    if found is None:
        return None
    least = max(found.low, low.low) if low is not None else found.low
    most = min(found.high, high.high) if high is not None else found.high
    made = Range(min(least, most), max(most, least))
    cut = max(abs(made.low), abs(made.high)) <= EXACT
    return made if cut or found is not ALL else ALL


def _divided(name: str, a: Range | None, b: Range | None) -> Range | None:
    """By a positive number."""
    if a is None or b is None or b.low != b.high or b.low < 1 or name == "div":
        return None
    if name == "remainder":
        return Range(0, b.low - 1, a.unique if a.low >= 0 and a.high < b.low else None)
    return None if a is ALL else Range(a.low // b.low, a.high // b.low)


def within(t: Tracer, index: Tensor, size: int) -> Range:
    """The range of an index into `size` places; `Unsupported` where it may lie beyond them."""
    found = range_of(t, index)
    if found is None or found is ALL:
        raise Unsupported(
            "an index by values whose range is not known (clamp it, or take it from argmax or topk)"
        )
    if found.low < 0 or found.high >= size:
        raise Unsupported(f"an index by values from {found.low:g} to {found.high:g} into {size} places")
    return found


@lowers("aminmax")
def _checked(t: Tracer, args: tuple, kwargs: dict, result: Any) -> list[None]:
    """`one_hot` looks at the smallest and the largest of its classes, to complain: they are known to be right."""
    if range_of(t, args[0]) in (None, ALL) or args[0].is_floating_point() or kwargs:
        raise Unsupported("the operation 'aten.aminmax'")
    for tensor in result:
        number = torch.ops.aten.full.default, ((), int(tensor)), {"dtype": tensor.dtype, "device": "cpu"}
        t.add_computed(tensor, *number)
        t.checked[id(tensor)] = failures.place_of_step()
    return [None, None]


def checked_again(t: Tracer, tensor: Tensor) -> None:
    """Only the function of torch that asked for it may have the number."""
    if t.checked[id(tensor)] != failures.place_of_step():
        raise Unsupported("a Python branch or number taken from the values of a tensor")
