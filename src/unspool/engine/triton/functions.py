"""What generated kernels call: rows in and out of memory, products, and functions that Triton's language lacks.

A row block is (B, P): P columns, a power of two, of which the first WIDTH are real; the rest hold anything.
Functions are composed of exp, log and sqrt, so that a kernel is the same in Triton's interpreter; the errors that
`tests/engine/test_triton.py` allows are those of float32's exp and log.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load(pointer, rows, live, WIDTH: tl.constexpr, P: tl.constexpr):
    """(B, P): `WIDTH` numbers from each of `rows`, offsets (B,); zeros beyond them and where a row is not live."""
    columns = tl.arange(0, P)
    mask = live[:, None] & (columns < WIDTH)[None, :]
    return tl.load(pointer + rows[:, None] + columns[None, :], mask=mask, other=0.0)


@triton.jit
def load_one(pointer, WIDTH: tl.constexpr, P: tl.constexpr):
    """(1, P): a row that all sequences share."""
    columns = tl.arange(0, P)
    return tl.load(pointer + columns, mask=columns < WIDTH, other=0.0)[None, :]


@triton.jit
def load_strided(pointer, WIDTH: tl.constexpr, P: tl.constexpr, STEP: tl.constexpr):
    """(1, P): numbers that lie STEP apart."""
    columns = tl.arange(0, P)
    return tl.load(pointer + columns * STEP, mask=columns < WIDTH, other=0.0)[None, :]


@triton.jit
def store(pointer, rows, live, value, WIDTH: tl.constexpr, P: tl.constexpr):
    columns = tl.arange(0, P)
    mask = live[:, None] & (columns < WIDTH)[None, :]
    tl.store(pointer + rows[:, None] + columns[None, :], value, mask=mask)


@triton.jit
def product(
    total,
    pointer,
    rows,
    live,
    weights,
    INNER: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP_INNER: tl.constexpr,
    STEP_WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """total (B, P) plus rows of INNER numbers in memory times a matrix (INNER, WIDTH), tile after tile of the rows."""
    n = tl.arange(0, total.shape[1])
    for first in range(0, INNER, TILE):
        k = first + tl.arange(0, TILE)
        mask = live[:, None] & (k < INNER)[None, :]
        a = tl.load(pointer + rows[:, None] + k[None, :], mask=mask, other=0.0)
        mask = (k < INNER)[:, None] & (n < WIDTH)[None, :]
        b = tl.load(weights + k[:, None] * STEP_INNER + n[None, :] * STEP_WIDTH, mask=mask, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    return total


@triton.jit
def product_of_one(
    pointer,
    rows,
    live,
    weights,
    INNER: tl.constexpr,
    STEP_INNER: tl.constexpr,
    P: tl.constexpr,
):
    """(B, 1): rows of INNER numbers in memory times a vector."""
    k = tl.arange(0, P)
    a = tl.load(pointer + rows[:, None] + k[None, :], mask=live[:, None] & (k < INNER)[None, :], other=0.0)
    b = tl.load(weights + k * STEP_INNER, mask=k < INNER, other=0.0)
    return tl.sum(a * b[None, :], 1, keep_dims=True)


@triton.jit
def row_sum(a, WIDTH: tl.constexpr):
    columns = tl.arange(0, a.shape[1])
    return tl.sum(tl.where((columns < WIDTH)[None, :], a, 0.0), 1, keep_dims=True)


@triton.jit
def row_max(a, WIDTH: tl.constexpr):
    """NaN where a number of the row is NaN, as torch has it."""
    columns = tl.arange(0, a.shape[1])
    real = (columns < WIDTH)[None, :]
    largest = tl.max(tl.where(real, a, float("-inf")), 1, keep_dims=True)
    unknown = tl.max(tl.where(real & (a != a), 1, 0), 1, keep_dims=True)
    return tl.where(unknown != 0, float("nan"), largest)


@triton.jit
def row_rstd(a, mean, epsilon, WIDTH: tl.constexpr):
    return 1.0 / tl.sqrt(row_sum((a - mean) * (a - mean), WIDTH) / WIDTH + epsilon)


@triton.jit
def sigmoid(a):
    return 1.0 / (1.0 + tl.exp(-a))


@triton.jit
def expm1(a):
    """(u - 1) a / log u with u = exp(a), in which the errors of both cancel (Kahan; Higham 2002, 1.14.1)."""
    u = tl.exp(a)
    near = (u - 1.0) * (a / tl.log(tl.where((u == 1.0) | (u == 0.0), 2.0, u)))
    return tl.where(u == 1.0, a, tl.where(tl.abs(a) < 1.0, near, u - 1.0))


@triton.jit
def log1p(a):
    """log(u) a / (u - 1) with u = 1 + a (Higham 2002, problem 1.5)."""
    u = 1.0 + a
    near = tl.log(u) * (a / tl.where(u == 1.0, 1.0, u - 1.0))
    return tl.where(u == 1.0, a, tl.where(tl.abs(a) < 1.0, near, tl.log(u)))


@triton.jit
def tanh(a):
    """-e / (e + 2) with e = expm1(-2 |a|), which keeps its digits around 0."""
    e = expm1(-2.0 * tl.abs(a))
    y = -e / (e + 2.0)
    return tl.where(a < 0.0, -y, y)


@triton.jit
def softplus(a):
    """log(1 + exp(a)); a itself beyond 20, as torch has it."""
    return tl.where(a > 20.0, a, log1p(tl.exp(tl.where(a > 20.0, 20.0, a))))


@triton.jit
def sinh(a):
    """(e + e / (e + 1)) / 2 with e = expm1(|a|)."""
    e = expm1(tl.abs(a))
    y = 0.5 * (e + e / (e + 1.0))
    return tl.where(a < 0.0, -y, y)


@triton.jit
def cosh(a):
    return 0.5 * (tl.exp(a) + tl.exp(-a))


@triton.jit
def sign(a):
    return tl.where(a > 0.0, 1.0, tl.where(a < 0.0, -1.0, a))


@triton.jit
def trunc(a):
    return tl.where(a < 0.0, tl.ceil(a), tl.floor(a))


@triton.jit
def round_to_even(a):
    """From 2^23 on every float32 is whole."""
    up = tl.floor(a + 0.5)
    tie = (up - a == 0.5) & (up - 2.0 * tl.floor(0.5 * up) == 1.0)
    return tl.where(tl.abs(a) < 8388608.0, tl.where(tie, up - 1.0, up), a)


@triton.jit
def remainder(a, b):
    """Of the division rounded down: it has the sign of b."""
    return a - b * tl.floor(a / b)


@triton.jit
def fmod(a, b):
    """Of the division rounded towards 0: it has the sign of a."""
    return a - b * trunc(a / b)


@triton.jit
def logaddexp(a, b):
    high = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    low = tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(high == low, high + 0.6931471805599453, high + log1p(tl.exp(low - high)))
