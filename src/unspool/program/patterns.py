"""Rows seen as several axes: which of their numbers an operation reads, in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Axes = tuple[tuple[int, int], ...]


def strides(sizes: Sequence[int]) -> list[int]:
    """Of a row whose axes have these sizes, the last one dense."""
    found = [1]
    for size in reversed(sizes[1:]):
        found.append(found[-1] * size)
    return found[::-1][: len(sizes)] if sizes else []


@dataclass(frozen=True)
class Pattern:
    """Places in a row: offset + sum of index * stride, in the order of the axes' indices (the last one fastest)."""

    offset: int
    axes: Axes  # (size, stride) of each; a stride of 0 repeats

    @property
    def count(self) -> int:
        return math.prod(size for size, _ in self.axes)

    def merged(self) -> Pattern:
        """The same places in as few axes as can be."""
        axes: list[tuple[int, int]] = []
        for size, stride in self.axes:
            if size == 1:
                continue
            if axes and axes[-1][1] == size * stride:
                axes[-1] = (axes[-1][0] * size, stride)
            else:
                axes.append((size, stride))
        return Pattern(self.offset, tuple(axes))

    @property
    def numbers(self) -> list[int]:
        """As the native tape takes it."""
        return [self.offset, *(n for axis in self.axes for n in axis)]

    def is_range(self) -> bool:
        """Of a merged pattern."""
        return len(self.axes) < 2 and all(stride == 1 for _, stride in self.axes)

    def places(self) -> np.ndarray:
        places = np.array(self.offset)
        for size, stride in self.axes:
            places = places[..., None] + np.arange(size) * stride
        return places.reshape(-1)

    def strides_of(self, sizes: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """Of the axes with these sizes, where each has one."""
        places = self.places().reshape(sizes)
        ends = (places[-1, 0, 0], places[0, -1, 0], places[0, 0, -1])
        steps = [int(end - self.offset) // max(size - 1, 1) for end, size in zip(ends, sizes)]
        same = Pattern(self.offset, tuple(zip(sizes, steps)))
        return (steps[0], steps[1], steps[2]) if (same.places() == places.reshape(-1)).all() else None

    def after(self, first: Pattern) -> Pattern | None:
        """The one pattern that does `first`, then this; None: it takes two."""
        return fit(first.places()[self.places()])

    def inverse(self, width: int) -> Pattern | None:
        """The pattern that takes back what this one took, where it took each of `width` numbers once."""
        axes = list(zip(self.axes, strides([size for size, _ in self.axes])))
        axes.sort(key=lambda axis: -axis[0][1])
        dense = strides([size for (size, _), _ in axes])
        if self.offset or self.count != width or [stride for (_, stride), _ in axes] != dense:
            return None
        return Pattern(0, tuple((size, own) for (size, _), own in axes)).merged()


def fit(places: np.ndarray) -> Pattern | None:
    """The pattern of these places, if they have one; the axes are found from the last to the first."""
    axes: list[tuple[int, int]] = []
    offset, rest = int(places[0]), places
    while len(rest) > 1:
        stride = int(rest[1] - rest[0])
        breaks = np.flatnonzero(np.diff(rest) != stride)
        size = int(breaks[0]) + 1 if len(breaks) else len(rest)
        if len(rest) % size:
            return None
        blocks = rest.reshape(-1, size)
        if (np.diff(blocks, axis=1) != stride).any():
            return None
        axes.append((size, stride))
        rest = blocks[:, 0]
    return Pattern(offset, tuple(reversed(axes)))


def runs(places: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(source, first, past the last) of the runs in a list of (source, place)."""
    edges = [0, *(i for i, (a, b) in enumerate(pairwise(places), 1) if b != (a[0], a[1] + 1)), len(places)]
    return [(places[low][0], places[low][1], places[high - 1][1] + 1) for low, high in pairwise(edges)]


@dataclass(frozen=True)
class Contraction:
    """out[n, i, j] = Σ_k a[n, i, k] b[n, k, j]; each of the three as strides of its axes in its row."""

    sizes: tuple[int, int, int, int]  # n, i, j, k
    out: tuple[int, int, int]  # n, i, j
    a: tuple[int, int, int]  # n, i, k
    b: tuple[int, int, int]  # n, k, j

    @property
    def width(self) -> int:
        n, i, j, _ = self.sizes
        return n * i * j

    @property
    def of_a(self) -> Contraction:
        """Of the gradient and b to the gradient of a: da[n, i, k] = Σ_j g[n, i, j] b[n, k, j]."""
        n, i, j, k = self.sizes
        return Contraction((n, i, k, j), self.a, self.out, (self.b[0], self.b[2], self.b[1]))

    @property
    def of_b(self) -> Contraction:
        """Of a and the gradient to the gradient of b: db[n, k, j] = Σ_i a[n, i, k] g[n, i, j]."""
        n, i, j, k = self.sizes
        return Contraction((n, k, j, i), self.b, (self.a[0], self.a[2], self.a[1]), self.out)

    @property
    def numbers(self) -> list[int]:
        return [*self.sizes, *self.out, *self.a, *self.b]


def product(n: int, i: int, j: int, k: int) -> Contraction:
    """Of dense rows (n, i, k) and (n, k, j) to (n, i, j)."""
    return Contraction((n, i, j, k), (i * j, j, 1), (i * k, k, 1), (k * j, j, 1))
