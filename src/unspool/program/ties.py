"""Gradients at ties: those of the torch that is installed, which since 2.15 are others.

Before, an edge that is met by `clamp` leaves the gradient to the value, and `fmax` and `fmin` give that of two equal
numbers to the first. Since, an edge that is a number takes the gradient away, one that is a tensor takes half of it,
and equal numbers have half each.
"""

from __future__ import annotations

import functools
import math

import torch

from unspool.program import surroundings
from unspool.program.maths import Maths

INF = math.inf


@functools.cache
def are_shared() -> bool:
    """Whether torch's gradients are the newer ones: asked of torch itself."""
    with surroundings.own():
        a = torch.ones((), dtype=torch.float32, device="cpu", requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.clamp(a, max=1.0), a)
        return float(gradient) == 0.0


def _clamp(m: Maths, a: int, low: int | None, high: int | None) -> int:
    """Its gradient is that of a from the edges on inwards; None: no edge."""
    return m.clamp(
        a, m.graph.const(-INF) if low is None else low, m.graph.const(INF) if high is None else high
    )


def between_numbers(m: Maths, a: int, low: int | None, high: int | None) -> int:
    """clamp(a, low, high); since torch 2.15 its gradient is 0 at the edges too; None: no edge."""
    if not are_shared():
        return _clamp(m, a, low, high)
    inside = [m.gt(a, low)] if low is not None else []
    inside += [m.lt(a, high)] if high is not None else []
    return m.where(functools.reduce(m.mul, inside), a, m.stop(_clamp(m, a, low, high)))


def between_tensors(m: Maths, a: int, low: int | None, high: int | None) -> int:
    """clamp(a, low, high); since torch 2.15 its gradient goes by halves to a and the edge it meets, to the upper where
    they cross, and with one edge it is that of `maximum` or `minimum`.
    """
    if not are_shared():
        return _clamp(m, a, low, high)
    if high is None or low is None:
        return m.max(a, low) if high is None else m.min(a, high)
    met, room = a, m.lt(low, high)
    for edge in (low, high):
        half = m.add(m.mul(a, 0.5), m.mul(edge, 0.5))
        met = m.where(m.mul(m.eq(a, edge), room), half, met)
    met = m.where(m.gt(a, high), high, met)
    met = m.where(m.lt(a, low), m.where(m.le(low, high), low, high), met)
    for edge in (low, high):  # NaN, and the gradient is that of a
        met = m.where(m.ne(edge, edge), m.add(a, m.stop(edge)), met)
    return met
