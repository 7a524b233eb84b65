"""Zeros, ties, infinities, NaN, numbers that overflow or vanish: values and gradients are torch's own."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unspool.program import ties

from .function_cases import ONE, TWO
from .test_ops import CASES, OnInput, apply

INF, NAN = math.inf, math.nan
EDGES = torch.tensor(
    [
        *(0.0, -0.0, 1.0, -1.0, 2.0, 3.0, -3.0, 0.5, -0.5, 0.3, 0.7, -14.0, 20.0, -20.0, 90.0, -90.0),
        *(1e-10, -1e-10, 1e-6, -1e-6, 1e15, -1e15, 1e30, -1e30, 2e-38, -2e-38, INF, -INF, NAN),
    ]
)
ROWS = {"glu", "norm", "normalize", "detach", "prelu"}  # not of each number by itself
# inf - inf or 0 * inf where torch's own formula meets it and ours does not, or the other way round: what is left out.
LEFT_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": lambda a: (a.abs() >= 1e15) | (a == -3),  # a³ overflows; 1 + tanh has few digits left
    "tanhshrink": lambda a: a.abs() <= 1e-6,  # a - tanh(a) has none
    "sinc": lambda a: (
        (a.abs() >= 1e15) | (a.abs() <= 1e-6)
    ),  # nor the multiples of pi, nor torch's gradient near 0
    "pow -0.5": lambda a: (a == 0) | (a == -INF),  # the sign of what has none
    "logit": lambda a: (a < 0) | (a > 1),  # NaN, and so is every loss of it
    "logit eps": torch.isnan,
    "elu": torch.isnan,
    "selu": torch.isnan,
    "celu": torch.isnan,
}
SIMPLE = """neg abs exp log tanh sigmoid sqrt rsqrt relu erf reciprocal square silu mish gelu gelu_tanh softplus
    softplus_threshold logsigmoid elu selu leaky_relu hardtanh hardsigmoid hardswish clamp clamp_min clamp_max
    clamp_crossed""".split()
FUNCTIONS = [
    *SIMPLE,
    *(n for n in ONE if n not in ROWS),
    *(f"pow {p}" for p in (-2, -1, -0.5, 0.5, 1, 2, 3, 4)),
]


def values_and_gradients(function: Callable[..., Tensor], parts: list[Tensor]) -> list[Tensor]:
    parts = [p.clone().requires_grad_() for p in parts]
    out = function(*parts)
    given = torch.autograd.grad(out, parts, torch.full_like(out, 0.75), allow_unused=True)
    return [out.detach(), *(torch.zeros_like(p) if g is None else g for p, g in zip(parts, given))]


def check(function: Callable[..., Tensor], parts: list[Tensor], keep: Tensor) -> None:
    """As torch in float32, or in float64 where that has lost its digits; less than 1e-37 is 0."""
    parts = [p[None] for p in parts]
    fast = values_and_gradients(lambda *ps: apply(OnInput, function, list(ps)), parts)
    plain = values_and_gradients(function, parts)
    exact = [e.float() for e in values_and_gradients(function, [p.double() for p in parts])]
    for what, got, loop, true in zip(("value", "da", "db", "dc"), fast, plain, exact):
        near = [torch.isclose(got, e, rtol=5e-5, atol=1e-37, equal_nan=True) for e in (loop, true)]
        off = keep & ~(near[0] | near[1])[0]
        at = [tuple(float(p[0, i]) for p in parts) for i in off.nonzero()[:, 0]]
        assert not at, f"{what} at {at}: {got[0][off]}, torch {loop[0][off]}, float64 {true[0][off]}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one(name: str) -> None:
    out = LEFT_OUT.get(name)
    keep = torch.ones(len(EDGES), dtype=torch.bool) if out is None else ~out(EDGES)
    check(CASES[name][0], [EDGES], keep)


OF_TWO: dict[str, Callable[..., Tensor]] = {
    **{name: TWO[name][0] for name in TWO if name not in ("div floor", "floor_divide", "logaddexp2")},
    **{name: getattr(torch, name) for name in "maximum minimum add sub mul div".split()},
    "where": lambda a, b: torch.where(a > b, a, b),
    "safe log": lambda a, b: torch.where(a > 0, torch.log(torch.where(a > 0, a, 1.0)), b),
    "unsafe log": lambda a, b: torch.where(a > 0, torch.log(a), b),
    "unsafe exp": lambda a, b: torch.where(a > 0, b, torch.exp(a)),
}


@pytest.mark.parametrize("name", OF_TWO)
def test_two(name: str) -> None:
    a, b = EDGES.repeat_interleave(len(EDGES)), EDGES.repeat(len(EDGES))
    keep = torch.ones(len(a), dtype=torch.bool)
    if name in ("fmod", "remainder", "remainder of a negative", "div trunc"):  # a quotient of few digits left
        keep = ((a / b).abs() < 1e6) & (b != 0) & b.isfinite() & a.isfinite()
    if name == "copysign":  # torch divides the result by a
        keep = a.isfinite()
    check(OF_TWO[name], [a, b], keep)


def test_between_edges() -> None:
    """Crossed edges, edges that are met: torch's gradients of clamp."""
    a = torch.tensor([1.0, 2.0, 3.0, 0.0, 5.0, 2.0, 2.0, 0.0, 4.0])
    low = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 2.0, 3.0, 3.0])
    high = torch.tensor([3.0, 3.0, 3.0, 3.0, 3.0, 1.0, 2.0, 1.0, 1.0])
    check(torch.clamp, [a, low, high], torch.ones(9, dtype=torch.bool))


@pytest.mark.parametrize("shared", [False, True])
def test_ties_of_either_torch(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients at ties as in torch before 2.15 and since, by hand; values and the other gradients stay."""
    monkeypatch.setattr(ties, "are_shared", lambda: shared)
    a, one, three = torch.tensor([1.0, 3.0, 2.0, 0.0, 5.0]), torch.ones(5), torch.full((5,), 3.0)
    for function, parts, halved, whole in (
        (lambda v: v.clamp(1.0, 3.0), [a], [[0, 0, 1, 0, 0]], [[1, 1, 1, 0, 0]]),
        (
            lambda v, low, high: v.clamp(low, high),  # a program each, as those of torch's are kept
            [a, one, three],
            [[0.5, 0.5, 1, 0, 0], [0.5, 0, 0, 1, 0], [0, 0.5, 0, 0, 1]],
            [[1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]],
        ),
        (
            lambda v, w: torch.fmax(v, w),
            [a, one],
            [[0.5, 1, 1, 0, 1], [0.5, 0, 0, 1, 0]],
            [[1, 1, 1, 0, 1], [0, 0, 0, 1, 0]],
        ),
        (
            lambda v, w: torch.fmin(v, w),
            [a, three],
            [[1, 0.5, 1, 1, 0], [0, 0.5, 0, 0, 1]],
            [[1, 1, 1, 1, 0], [0, 0, 0, 0, 1]],
        ),
    ):
        rows = [p[None] for p in parts]
        value, *got = values_and_gradients(lambda *ps, f=function: apply(OnInput, f, list(ps)), rows)
        assert torch.equal(value, function(*rows))
        assert [(g[0] / 0.75).tolist() for g in got] == (halved if shared else whole)


@pytest.mark.parametrize("number", [0.1, 0.0, 3e5])
def test_constant_rows(number: float) -> None:
    """The deviation of a constant row, the norm of a row of zeros: 0, with the gradient 0."""
    row = torch.full((2, 21), number)
    zeros = torch.zeros(2, 21)
    for function, given in (
        (lambda a: a * a.std(1, keepdim=True), row),
        (lambda a: a * a.var(1, keepdim=True), row),
        (lambda a: a + a.norm(dim=1, keepdim=True), zeros),
        (lambda a: F.normalize(a, dim=1), zeros),
    ):
        fast = values_and_gradients(lambda p, f=function: apply(OnInput, f, [p]), [given])
        for got, expected in zip(fast, values_and_gradients(function, [given])):
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["elu", "selu", "celu", "log1p", "expm1"])
def test_digits_of_small_and_large_numbers(name: str) -> None:
    a = torch.tensor([[1e-6, -1e-6, 1e-9, 1e-12, -1e-12, -14.0, -16.0, -20.0, -0.5, 80.0, 90.0, 1e4]])
    a = a[:, a[0] > -1] if name == "log1p" else a[:, a[0] < 50] if name == "expm1" else a
    function = getattr(torch, name, None) or getattr(F, name)
    fast = values_and_gradients(lambda p: apply(OnInput, function, [p]), [a])
    exact = values_and_gradients(function, [a.double()])
    for got, expected in zip(fast, exact):
        near = (
            function is not torch.expm1
        )  # whose own gradient in torch, y + 1, has lost its digits in float32
        torch.testing.assert_close(got.double(), expected, rtol=1e-6 if near else 1e-5, atol=0)
