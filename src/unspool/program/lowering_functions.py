"""Lowerings of functions and activations, torch's own at edges, infinities and NaN, in values and gradients.

`m` is the graph's operations as methods; `a, b, c` are the operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from unspool.program import ties
from unspool.program.lowering import elementwise
from unspool.program.maths import Maths

INF = math.inf


def function(name: str, build: Callable[..., int], arity: int = 1) -> None:
    elementwise(name, lambda g, *args, **kwargs: build(Maths(g), *args, **kwargs), arity)


for _name in """neg abs exp expm1 exp2 log log1p log2 log10 tanh sigmoid sqrt rsqrt relu erf erfc sin cos tan asin acos
    atan sinh cosh asinh acosh atanh floor ceil round trunc sign""".split():
    function(_name, lambda m, a, name=_name: getattr(m, name)(a))
for _name in "gt ge lt le eq ne mul atan2 hypot fmod remainder logaddexp xlogy".split():
    function(_name, lambda m, a, b, name=_name: getattr(m, name)(a, b), 2)
function("maximum", lambda m, a, b: m.max(a, b), 2)
function("minimum", lambda m, a, b: m.min(a, b), 2)
function("where", lambda m, a, b, c: m.where(a, b, c), 3)
function("masked_fill", lambda m, a, mask, value: m.where(mask, value, a), 3)

function("bitwise_not", lambda m, a: m.sub(1.0, a))  # of truth values, as are the next three
function("bitwise_and", lambda m, a, b: m.mul(a, b), 2)
function("bitwise_or", lambda m, a, b: m.max(a, b), 2)
function("bitwise_xor", lambda m, a, b: m.ne(a, b), 2)
function("logical_not", lambda m, a: m.eq(a, 0.0))
function("logical_and", lambda m, a, b: m.mul(m.ne(a, 0.0), m.ne(b, 0.0)), 2)
function("logical_or", lambda m, a, b: m.max(m.ne(a, 0.0), m.ne(b, 0.0)), 2)
function("logical_xor", lambda m, a, b: m.ne(m.ne(a, 0.0), m.ne(b, 0.0)), 2)
function("isnan", lambda m, a: m.ne(a, a))
function("isinf", lambda m, a: m.eq(m.abs(a), INF))
function("isposinf", lambda m, a: m.eq(a, INF))
function("isneginf", lambda m, a: m.eq(a, -INF))
function("isfinite", lambda m, a: m.lt(m.abs(a), INF))


def _scaled(op: str) -> Callable[..., int]:
    return lambda m, a, b, alpha=1: getattr(m, op)(a, m.mul(b, float(alpha)))


def _div(m: Maths, a: int, b: int, rounding_mode: str | None = None) -> int:
    if rounding_mode == "trunc":
        return m.trunc(m.div(a, b))
    if rounding_mode == "floor":
        whole = m.round(m.div(m.sub(a, m.remainder(a, b)), b))
        return m.stop(m.where(m.eq(b, 0.0), m.div(a, b), whole))
    value = m.graph.constant(b)
    ordinary = value is not None and 1e-30 < abs(value) < 1e30  # as is its reciprocal
    return m.mul(a, 1.0 / value) if value is not None and ordinary else m.div(a, b)


def _lerp(m: Maths, a: int, b: int, weight: Any) -> int:
    """From the nearer end, so that a weight of 1 gives b."""
    along = m.sub(b, a)
    from_a, from_b = m.add(a, m.mul(weight, along)), m.sub(b, m.mul(along, m.sub(1.0, weight)))
    value = m.graph.constant(weight)
    if value is not None:
        return from_a if abs(value) < 0.5 else from_b
    return m.where(m.lt(m.abs(weight), 0.5), from_a, from_b)


def _signed(m: Maths, a: int) -> int:
    """Whether its sign is minus, that of -0 too."""
    return m.max(m.lt(a, 0.0), m.lt(m.div(1.0, a), 0.0))


def _larger(compare: str, larger: str) -> Callable[..., int]:
    """fmax, fmin: the number where the other is NaN."""

    def larger_of(m: Maths, a: int, b: int) -> int:
        if ties.are_shared():
            return m.where(m.ne(b, b), a, m.where(m.ne(a, a), b, getattr(m, larger)(a, b)))
        return m.where(m.max(getattr(m, compare)(a, b), m.ne(b, b)), a, b)

    return larger_of


def _sinc(m: Maths, a: int) -> int:
    """sin(t) / t with t = pi a; near 0, where the gradient of that would lose its digits, 1 - t² / 6 + ..."""
    turn = m.mul(a, math.pi)
    near = m.lt(m.abs(turn), 0.5)
    square, series = m.square(m.where(near, turn, 0.0)), m.graph.const(1 / 362880)
    for factor in (-1 / 5040, 1 / 120, -1 / 6, 1.0):
        series = m.add(m.mul(series, square), factor)
    far = m.where(near, 1.0, turn)
    return m.where(near, series, m.div(m.sin(far), far))


def _logit(m: Maths, a: int, eps: float | None = None) -> int:
    if eps is not None:
        a = m.clamp(a, float(eps), 1.0 - eps)
    return m.sub(m.log(a), m.log(m.sub(1.0, a)))


def _nan_to_num(m: Maths, a: int, nan: Any = None, posinf: Any = None, neginf: Any = None) -> int:
    largest = 3.4028234663852886e38
    high = largest if posinf is None else float(posinf)
    low = -largest if neginf is None else float(neginf)
    finite = m.where(m.eq(a, INF), high, m.where(m.eq(a, -INF), low, a))
    return m.where(m.ne(a, a), float(nan or 0.0), finite)


function("add", _scaled("add"), 2)
function("sub", _scaled("sub"), 2)
function("rsub", lambda m, a, b, alpha=1: _scaled("sub")(m, b, a, alpha), 2)
function("div", _div, 2)
function("floor_divide", lambda m, a, b: _div(m, a, b, "floor"), 2)
function("reciprocal", lambda m, a: m.div(1.0, a))
function("square", lambda m, a: m.square(a))
function("addcmul", lambda m, a, b, c, value=1: _scaled("add")(m, a, m.mul(b, c), value), 3)
function("addcdiv", lambda m, a, b, c, value=1: _scaled("add")(m, a, m.div(b, c), value), 3)
function("lerp", _lerp, 3)
function("pow", lambda m, a, b: m.power(a, b), 2)
function("fmax", _larger("ge", "max"), 2)
function("fmin", _larger("le", "min"), 2)
function("sgn", lambda m, a: m.sign(a))
function("signbit", lambda m, a: _signed(m, a))
function("copysign", lambda m, a, b: m.mul(m.abs(a), m.where(_signed(m, b), -1.0, 1.0)), 2)
function("frac", lambda m, a: m.sub(a, m.trunc(a)))
function("heaviside", lambda m, a, b: m.stop(m.where(m.eq(a, 0.0), b, m.gt(a, 0.0))), 2)
function("deg2rad", lambda m, a: m.mul(a, math.pi / 180))
function("rad2deg", lambda m, a: m.mul(a, 180 / math.pi))
function("sinc", _sinc)
function("logit", _logit)
function("nan_to_num", _nan_to_num)
function(
    "logaddexp2",
    lambda m, a, b: m.div(m.logaddexp(m.mul(a, math.log(2)), m.mul(b, math.log(2))), math.log(2)),
    2,
)

# --- activations


def _strict(m: Maths, a: int, low: float, high: float) -> int:
    """The gradient is zero at the edges, as in torch's hardtanh."""
    return m.where(m.le(a, float(low)), float(low), m.where(m.ge(a, float(high)), float(high), a))


def _softplus(m: Maths, a: int, beta: float = 1, threshold: float = 20) -> int:
    scaled = m.mul(a, float(beta))
    smooth = m.mul(m.softplus(scaled), 1.0 / beta)
    if threshold >= 20:  # there the two differ by less than a float32's last digit
        return smooth
    return m.where(m.gt(scaled, float(threshold)), a, smooth)


def _elu(m: Maths, a: int, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> int:
    """The exponential sees no a above 0, where it could overflow."""
    bend = m.expm1(m.mul(m.clamp(a, -INF, 0.0), float(input_scale)))
    return m.where(m.gt(a, 0.0), m.mul(a, float(scale)), m.mul(bend, float(alpha * scale)))


def _gelu(m: Maths, a: int, approximate: str = "none") -> int:
    if approximate == "tanh":
        inner = m.add(a, m.mul(m.mul(m.square(a), a), 0.044715))
        bend = m.tanh(m.mul(inner, math.sqrt(2 / math.pi)))
    else:
        bend = m.erf(m.mul(a, math.sqrt(0.5)))
    return m.mul(m.mul(a, 0.5), m.add(bend, 1.0))


def _hardsigmoid(m: Maths, a: int) -> int:
    """(a + 3) / 6 between -3 and 3; 0 a at the last is NaN's."""
    outside = m.where(m.ge(a, 3.0), 1.0, m.where(m.le(a, -3.0), 0.0, m.mul(a, 0.0)))
    return m.where(m.between(a, -3.0, 3.0), m.mul(m.add(a, 3.0), 1 / 6), outside)


def _hardswish(m: Maths, a: int) -> int:
    between = m.between(a, -3.0, 3.0)
    inner = m.where(between, a, 0.0)
    outside = m.where(m.le(a, -3.0), m.mul(a, 0.0), a)
    return m.where(between, m.mul(inner, m.mul(m.add(inner, 3.0), 1 / 6)), outside)


def _hardshrink(m: Maths, a: int, edge: float = 0.5) -> int:
    return m.where(m.le(m.abs(a), float(edge)), 0.0, a)


def _softshrink(m: Maths, a: int, edge: float = 0.5) -> int:
    return m.where(m.le(m.abs(a), float(edge)), 0.0, m.sub(a, m.mul(m.sign(a), float(edge))))


def _leaky(m: Maths, a: int, slope: Any) -> int:
    return m.where(m.gt(a, 0.0), a, m.mul(a, slope))


function("silu", lambda m, a: m.mul(a, m.sigmoid(a)))
function("mish", lambda m, a: m.mul(a, m.tanh(m.softplus(a))))
function("gelu", _gelu)
function("softplus", _softplus)
function("elu", _elu)
function("celu", lambda m, a, alpha=1.0: _elu(m, a, alpha, 1.0, 1.0 / alpha))
function("selu", lambda m, a: _elu(m, a, 1.6732632423543772, 1.0507009873554805))
function("leaky_relu", lambda m, a, slope=0.01: _leaky(m, a, float(slope)))
function("_prelu_kernel", _leaky, 2)
function("hardtanh", lambda m, a, low=-1.0, high=1.0: _strict(m, a, low, high))
function("hardsigmoid", _hardsigmoid)
function("hardswish", _hardswish)
function("hardshrink", _hardshrink)
function("softshrink", _softshrink)


def _threshold(m: Maths, a: int, edge: float, value: float) -> int:
    return m.where(m.le(a, float(edge)), float(value), a)


function("threshold", _threshold)
