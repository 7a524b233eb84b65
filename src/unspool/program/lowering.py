"""torch's operations in terms of the program's: one entry of `LOWERINGS` an operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unspool.program.layout import Unsupported as Unsupported
from unspool.program.layout import Value
from unspool.program.operands import aligned, layout

if TYPE_CHECKING:
    from unspool.program.trace import Tracer


Lowering = Callable[["Tracer", tuple, dict, Any], Any]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    def register(function: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = function
        return function

    return register


def elementwise(name: str, build: Callable[..., int], arity: int) -> None:
    def lower(t: Tracer, args: tuple, kwargs: dict, result: Any) -> Value:
        if not all(isinstance(a, (int, float, Tensor)) for a in args[:arity]) or len(args) < arity:
            raise Unsupported(f"'aten.{name}' with these arguments")
        out = layout(t, args, result)
        operands = [aligned(t, a, out) for a in args[:arity]]
        if name == "add" and result.dtype == torch.bool:  # True + True is True
            return out.of(t.graph.spread(t.graph.each("max", *operands), out.width))
        return out.of(t.graph.spread(build(t.graph, *operands, *args[arity:], **kwargs), out.width))

    LOWERINGS[name] = lower


def simple(op: str) -> Callable[..., int]:
    return lambda g, *args: g.each(op, *args)


for _name in "neg abs exp expm1 log tanh sigmoid sqrt rsqrt relu erf".split():
    elementwise(_name, simple(_name), 1)
for _name in "gt ge lt le eq ne".split():
    elementwise(_name, simple(_name), 2)
elementwise("maximum", simple("max"), 2)
elementwise("minimum", simple("min"), 2)
elementwise("where", simple("where"), 3)
elementwise("mul", simple("mul"), 2)


def _scaled(op: str) -> Callable[..., int]:
    def build(g: Any, a: int, b: int, alpha: float = 1) -> int:
        return g.each(op, a, g.each("mul", b, g.const(alpha)))

    return build


def _div(g: Any, a: int, b: int, rounding_mode: str | None = None) -> int:
    if rounding_mode is not None:
        raise Unsupported("division with rounding")
    value = g.constant(b)
    return g.each("mul", a, g.const(1.0 / value)) if value else g.each("div", a, b)


elementwise("add", _scaled("add"), 2)
elementwise("sub", _scaled("sub"), 2)
elementwise("rsub", lambda g, a, b, alpha=1: _scaled("sub")(g, b, a, alpha), 2)
elementwise("div", _div, 2)
elementwise("reciprocal", lambda g, a: g.each("div", g.const(1.0), a), 1)
elementwise("square", lambda g, a: g.each("mul", a, a), 1)
elementwise("log1p", lambda g, a: g.each("log", g.each("add", a, g.const(1.0))), 1)
elementwise("addcmul", lambda g, a, b, c, value=1: _scaled("add")(g, a, g.each("mul", b, c), value), 3)
elementwise("bitwise_not", lambda g, a: g.each("sub", g.const(1.0), a), 1)
elementwise("logical_not", lambda g, a: g.each("eq", a, g.const(0.0)), 1)
elementwise("bitwise_and", simple("mul"), 2)
elementwise("bitwise_or", simple("max"), 2)
elementwise("lerp", lambda g, a, b, w: g.each("add", a, g.each("mul", w, g.each("sub", b, a))), 3)
elementwise("silu", lambda g, a: g.each("mul", a, g.each("sigmoid", a)), 1)


def _pow(g: Any, a: int, exponent: Any) -> int:
    if not isinstance(exponent, (int, float)) or exponent not in (0.5, -0.5, 1, 2, 3, 4, -1, -2):
        raise Unsupported("a power other than 1, 2, 3, 4, -1, -2, 0.5 or -0.5")
    if exponent in (0.5, -0.5):
        return g.each("sqrt" if exponent > 0 else "rsqrt", a)
    result = a
    for _ in range(abs(int(exponent)) - 1):
        result = g.each("mul", result, a)
    return result if exponent > 0 else g.each("div", g.const(1.0), result)


def _number(bound: Any) -> float:
    if not isinstance(bound, (int, float)):
        raise Unsupported("clamp to a tensor")
    return float(bound)


def _clamp(g: Any, a: int, min: Any = None, max: Any = None) -> int:
    """The gradient passes at the edges, as torch's clamp lets it."""
    for bound, compare in ((min, "lt"), (max, "gt")):
        if bound is not None:
            edge = g.const(_number(bound))
            a = g.each("where", g.each(compare, a, edge), edge, a)
    return a


def _strict(g: Any, a: int, low: float, high: float) -> int:
    """The gradient is zero at the edges, as in torch's hardtanh and hardsigmoid."""
    lo, hi = g.const(low), g.const(high)
    return g.each("where", g.each("le", a, lo), lo, g.each("where", g.each("ge", a, hi), hi, a))


def _softplus(g: Any, a: int, beta: float = 1, threshold: float = 20) -> int:
    scaled = g.each("mul", a, g.const(beta))
    smooth = g.each("mul", g.each("softplus", scaled), g.const(1.0 / beta))
    if threshold >= 20:  # there the two differ by less than a float32's last digit
        return smooth
    return g.each("where", g.each("gt", scaled, g.const(threshold)), a, smooth)


def _elu(g: Any, a: int, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> int:
    negative = g.each("mul", g.each("expm1", g.each("mul", a, g.const(input_scale))), g.const(alpha * scale))
    return g.each("where", g.each("gt", a, g.const(0.0)), g.each("mul", a, g.const(scale)), negative)


def _leaky_relu(g: Any, a: int, slope: float = 0.01) -> int:
    return g.each("where", g.each("gt", a, g.const(0.0)), a, g.each("mul", a, g.const(slope)))


def _gelu(g: Any, a: int, approximate: str = "none") -> int:
    if approximate == "tanh":
        cube = g.each("mul", g.each("mul", a, a), a)
        inner = g.each("add", a, g.each("mul", cube, g.const(0.044715)))
        bend = g.each("tanh", g.each("mul", inner, g.const(math.sqrt(2 / math.pi))))
    else:
        bend = g.each("erf", g.each("mul", a, g.const(math.sqrt(0.5))))
    return g.each("mul", g.each("mul", a, g.const(0.5)), g.each("add", bend, g.const(1.0)))


def _hardsigmoid(g: Any, a: int) -> int:
    return _strict(g, g.each("add", g.each("mul", a, g.const(1 / 6)), g.const(0.5)), 0.0, 1.0)


elementwise("pow", _pow, 1)
elementwise("clamp", _clamp, 1)
elementwise("clamp_min", _clamp, 1)
elementwise("clamp_max", lambda g, a, high: _clamp(g, a, max=high), 1)
elementwise("hardtanh", lambda g, a, low=-1.0, high=1.0: _strict(g, a, low, high), 1)
elementwise("hardsigmoid", _hardsigmoid, 1)
elementwise("hardswish", lambda g, a: g.each("mul", a, _hardsigmoid(g, a)), 1)
elementwise("softplus", _softplus, 1)
elementwise("elu", _elu, 1)
elementwise("leaky_relu", _leaky_relu, 1)
elementwise("gelu", _gelu, 1)
elementwise("mish", lambda g, a: g.each("mul", a, g.each("tanh", g.each("softplus", a))), 1)
