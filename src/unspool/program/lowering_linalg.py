"""Lowerings of inverses and Cholesky factors of small matrices, as Kalman filters have them: a column at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unspool.program.inner import composed
from unspool.program.layout import Unsupported

MOST = 16  # rows of a matrix: a step has some ten operations for each


def _checked(a: Tensor) -> int:
    n = a.shape[-1]
    if a.dim() != 3 or n > MOST:
        raise Unsupported(
            f"the inverse or the factor of matrices of shape {tuple(a.shape)}, more than {MOST} rows"
        )
    return n


def inverse(a: Tensor) -> Tensor:
    """(B, n, n): Gauss and Jordan with the largest pivot of each column, and a step of Newton.

    The elimination has no gradient. X (2 - A X), at X = A^-1, is X, and its gradient is that of the inverse.
    """
    n, fixed = _checked(a), a.detach()
    rows = torch.cat([fixed, torch.eye(n, dtype=a.dtype).expand(a.shape)], 2)
    free = torch.ones_like(fixed[:, :, 0])  # rows that have been no pivot yet
    order = []
    for k in range(n):
        column = rows[:, :, k]
        pivot = torch.where(free > 0, column.abs(), -1.0).argmax(1, keepdim=True) == torch.arange(n)
        chosen = torch.where(pivot.unsqueeze(2), rows, 0.0).sum(1)
        chosen = chosen / chosen[:, k : k + 1]
        others = rows - torch.where(pivot, 0.0, column).unsqueeze(2) * chosen.unsqueeze(1)
        rows = torch.where(pivot.unsqueeze(2), chosen.unsqueeze(1), others)
        free = torch.where(pivot, 0.0, free)
        order.append(pivot.to(a.dtype))
    x = (torch.stack(order, 1) @ rows[:, :, n:]).detach()
    return x @ (2 * torch.eye(n, dtype=a.dtype) - a @ x)


@composed("linalg_inv_ex")
def _inverse(a: Tensor, *, check_errors: bool = False) -> list[Any]:
    return [inverse(a), None]


@composed("_linalg_solve_ex")
def _solve(a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> list[Any]:
    if b.dim() not in (2, 3):
        raise Unsupported("'aten._linalg_solve_ex' of these shapes")
    vector = b.dim() == 2
    right = b.unsqueeze(-1) if vector else b
    made = inverse(a) @ right if left else right @ inverse(a)
    return [made.squeeze(-1) if vector else made, None, None, None]


@composed("linalg_cholesky_ex")
def _cholesky(a: Tensor, *, upper: bool = False, check_errors: bool = False) -> list[Any]:
    n = _checked(a)
    columns: list[Tensor] = []
    for k in range(n):
        column = a[:, :, k]
        for earlier in columns:
            column = column - earlier * earlier[:, k : k + 1]
        below = torch.arange(n) >= k
        columns.append(torch.where(below, column, 0.0) * torch.rsqrt(column[:, k : k + 1]))
    return [torch.stack(columns, 1 if upper else 2), None]


@composed("cholesky_solve")
def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    low = factor.mT if upper else factor
    return _substituted(low.mT, _substituted(low, b, False), True)


@composed("linalg_solve_triangular")
def _solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    if not left or unitriangular or a.dim() != 3:
        raise Unsupported("'aten.linalg_solve_triangular' with these arguments")
    return _substituted(a, b, upper)


def _substituted(a: Tensor, b: Tensor, upper: bool) -> Tensor:
    """The x of a x = b, for a triangular: row after row."""
    n = _checked(a)
    found: dict[int, Tensor] = {}
    for k in reversed(range(n)) if upper else range(n):
        rest = b[:, k]
        for j, x in found.items():
            rest = rest - a[:, k, j].unsqueeze(1) * x
        found[k] = rest / a[:, k, k].unsqueeze(1)
    return torch.stack([found[k] for k in range(n)], 1)
