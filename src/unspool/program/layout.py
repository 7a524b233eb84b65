"""Where the numbers of a traced tensor are: which axis is the batch, and how the others lie in the program's row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


class Unsupported(Exception):
    """The native engine has no way to run this; the message names what, `where` the file and line of the step."""

    where: tuple[str, int] | None = None


@dataclass(frozen=True)
class Value:
    """A tensor of the batch: its node, and its shape in torch.

    The node's row has the tensor's numbers for one sequence in torch's order. `axis` holds the batch; it may hold
    features as well, `before` of them outside of the batch, as a view of (B, h, d) as (B h, d) does.
    """

    node: int
    shape: tuple[int, ...]
    batch: int
    axis: int = 0
    before: int = 1

    def __str__(self) -> str:
        """The shape, as `(batch, 5)` or `(3 x batch, 5)`."""
        among = self.before * self.after
        names = [str(n) if d != self.axis else "batch" for d, n in enumerate(self.shape)]
        if among > 1:
            names[self.axis] = f"{among} x batch"
        return f"({', '.join(names)}{',' * (len(names) == 1)})"

    @property
    def after(self) -> int:
        return self.shape[self.axis] // (self.batch * self.before)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the row: those of the axes, with the two of `axis`, before and after the batch, in its place."""
        return (*self.shape[: self.axis], self.before, self.after, *self.shape[self.axis + 1 :])

    @property
    def width(self) -> int:
        return math.prod(self.sizes)

    @property
    def plain(self) -> bool:
        """(batch, features) or (batch,)."""
        return self.axis == 0 and self.before == self.after == 1 and len(self.shape) < 3

    def of(self, node: int) -> Value:
        return replace(self, node=node)

    def entries(self, dim: int) -> list[int]:
        """Which of `sizes` torch's axis `dim` is."""
        if dim == self.axis:
            return [dim, dim + 1]
        return [dim if dim < self.axis else dim + 1]

    def feature(self, dim: int) -> int:
        """Which of `sizes` torch's axis `dim` is, which must not hold the batch."""
        dim %= max(len(self.shape), 1)
        if dim == self.axis:
            raise Unsupported(f"an operation over axes [{dim}] of a tensor of shape {self}: over the batch")
        return self.entries(dim)[0]

    def seen_as(self, shape: Sequence[int]) -> Value:
        """The same numbers in another shape."""
        inner = math.prod(self.shape[self.axis + 1 :]) * self.after  # numbers of one sequence after the batch
        rest = 1
        for dim in range(len(shape) - 1, -1, -1):
            more = rest * shape[dim]
            if rest <= inner and inner * self.batch <= more:
                if inner % rest or more % (inner * self.batch):
                    break
                return Value(self.node, tuple(shape), self.batch, dim, more // (inner * self.batch))
            rest = more
        raise Unsupported(f"a change of shape from {self} to {tuple(shape)}, which mixes sequences")

    def without(self, dims: Sequence[int], keep: bool) -> Value:
        """The shape of a reduction over axes that do not hold the batch."""
        if keep:
            return replace(self, shape=tuple(1 if d in dims else n for d, n in enumerate(self.shape)))
        shape = tuple(n for d, n in enumerate(self.shape) if d not in dims)
        return replace(self, shape=shape, axis=self.axis - sum(d < self.axis for d in dims))
