"""The gradient of each operation, as torch's autograd has it, also at edges, ties, infinities and NaN.

`g` below is the gradient of the value, `y` the value, `a, b, c` its operands. A rule names the gradients of the
operands as new nodes of the same graph; None: no gradient flows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from unspool.program.ir import COMPARISONS, Graph
from unspool.program.maths import Maths

Rule = Callable[..., list[int | None]]
RULES: dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[Callable[..., list[int | None]]], Rule]:
    """Registers (maths, g, y, *operands) -> gradients as the rule of `ops`."""

    def register(function: Callable[..., list[int | None]]) -> Rule:
        def made(graph: Graph, *args: int) -> list[int | None]:
            return function(Maths(graph), *args)

        RULES.update(dict.fromkeys(ops, made))
        return made

    return register


def derivative(op: str, function: Callable[[Maths, int, int], int]) -> None:
    """The gradient of a function of one value is g times (maths, y, a) -> its derivative."""
    rule(op)(lambda m, g, y, a: [m.mul(g, function(m, y, a))])


def divided(op: str, function: Callable[[Maths, int, int], int]) -> None:
    rule(op)(lambda m, g, y, a: [m.div(g, function(m, y, a))])


for _name in ("add", "copy"):
    rule(_name)(lambda m, g, y, *args: [g] * len(args))
for _name in ("floor", "ceil", "round", "trunc", "sign", "stop", "amax", "gmax", "order", "mean"):
    rule(_name)(lambda m, g, y, a: [None])
for _name in COMPARISONS:
    rule(_name)(lambda m, g, y, a, b: [None, None])
rule("sub")(lambda m, g, y, a, b: [g, m.neg(g)])
rule("neg")(lambda m, g, y, a: [m.neg(g)])
rule("mul")(lambda m, g, y, a, b: [m.mul(g, b), m.mul(g, a)])
rule("div")(lambda m, g, y, a, b: [m.div(g, b), m.neg(m.mul(g, m.div(y, b)))])
rule("where")(lambda m, g, y, a, b, c: [None, m.where(a, g, 0.0), m.where(a, 0.0, g)])
rule("through")(lambda m, g, y, value, a, d: [g, m.mul(g, d), None])
rule("relu")(lambda m, g, y, a: [m.where(m.le(y, 0.0), 0.0, g)])
rule("tanh")(lambda m, g, y, a: [m.dtanh(g, y)])
rule("sigmoid")(lambda m, g, y, a: [m.dsigmoid(g, y)])
rule("sum")(lambda m, g, y, a: [m.graph.spread(g, m.graph.width(a))])
rule("rstd")(lambda m, g, y, a, mean, epsilon: [None, None, None])

derivative("abs", lambda m, y, a: m.sign(a))
derivative("exp", lambda m, y, a: y)
derivative("expm1", lambda m, y, a: m.exp(a))  # not y + 1, which has no digits left where y is close to -1
derivative("exp2", lambda m, y, a: m.mul(y, math.log(2)))
derivative("softplus", lambda m, y, a: m.sigmoid(a))
derivative("erf", lambda m, y, a: m.mul(m.exp(m.neg(m.square(a))), 2 / math.sqrt(math.pi)))
derivative("erfc", lambda m, y, a: m.mul(m.exp(m.neg(m.square(a))), -2 / math.sqrt(math.pi)))
derivative("sin", lambda m, y, a: m.cos(a))
derivative("cos", lambda m, y, a: m.neg(m.sin(a)))
derivative("tan", lambda m, y, a: m.add(m.square(y), 1.0))
derivative("sinh", lambda m, y, a: m.cosh(a))
derivative("cosh", lambda m, y, a: m.sinh(a))
derivative("asin", lambda m, y, a: m.rsqrt(m.sub(1.0, m.square(a))))
derivative("acos", lambda m, y, a: m.neg(m.rsqrt(m.sub(1.0, m.square(a)))))
derivative("asinh", lambda m, y, a: m.rsqrt(m.add(m.square(a), 1.0)))
derivative("acosh", lambda m, y, a: m.rsqrt(m.sub(m.square(a), 1.0)))
divided("log", lambda m, y, a: a)
divided("log1p", lambda m, y, a: m.add(a, 1.0))
divided("log2", lambda m, y, a: m.mul(a, math.log(2)))
divided("log10", lambda m, y, a: m.mul(a, math.log(10)))
divided("atan", lambda m, y, a: m.add(m.square(a), 1.0))
divided("atanh", lambda m, y, a: m.sub(1.0, m.square(a)))
rule("sqrt")(lambda m, g, y, a: [m.div(m.mul(g, 0.5), y)])
rule("rsqrt")(lambda m, g, y, a: [m.mul(m.mul(g, -0.5), m.mul(y, m.mul(y, y)))])


def _choice(op: str, loses: str) -> None:
    """To the operand chosen, half to each where they are equal, to both where one is NaN."""

    def to(m: Maths, g: int, a: int, b: int) -> int:
        shared = m.where(m.eq(a, b), m.mul(g, 0.5), g)
        return m.where(getattr(m, loses)(a, b), 0.0, shared)

    rule(op)(lambda m, g, y, a, b: [to(m, g, a, b), to(m, g, b, a)])


_choice("max", "lt")
_choice("min", "gt")


@rule("clamp")
def _clamp(m: Maths, g: int, y: int, a: int, low: int, high: int) -> list[int | None]:
    """To a from its edges on inwards; to an edge beyond it; where the edges cross to the upper one."""
    if m.graph.constant(high) == math.inf:
        inside = m.ge(a, low)
    elif m.graph.constant(low) == -math.inf:
        inside = m.le(a, high)
    else:
        inside = m.mul(m.ge(a, low), m.le(a, high))
    crossed = m.lt(high, low)
    to_low = m.where(m.mul(m.lt(a, low), m.le(low, high)), g, 0.0)
    return [m.where(inside, g, 0.0), to_low, m.where(m.max(m.gt(a, high), crossed), g, 0.0)]


@rule("pow")
def _pow(m: Maths, g: int, y: int, a: int, b: int) -> list[int | None]:
    """b a^(b - 1), 0 where b is 0; y log a, 0 where a is 0 and b is not below 0."""
    to_a = m.where(m.eq(b, 0.0), 0.0, m.mul(g, m.mul(b, m.power(a, m.sub(b, 1.0)))))
    still = m.mul(m.eq(a, 0.0), m.ge(b, 0.0))
    return [to_a, m.where(still, 0.0, m.mul(g, m.mul(y, m.log(a))))]


@rule("atan2")
def _atan2(m: Maths, g: int, y: int, a: int, b: int) -> list[int | None]:
    """b / (a² + b²) and -a / (a² + b²), 0 where both are 0."""
    square = m.add(m.square(a), m.square(b))
    scale = m.div(g, m.where(m.eq(square, 0.0), 1.0, square))
    return [m.mul(scale, b), m.mul(scale, m.neg(a))]


rule("hypot")(lambda m, g, y, a, b: [m.mul(g, m.div(a, y)), m.mul(g, m.div(b, y))])
rule("fmod")(lambda m, g, y, a, b: [g, m.neg(m.mul(g, m.trunc(m.div(a, b))))])
rule("remainder")(lambda m, g, y, a, b: [g, m.neg(m.mul(g, m.round(m.div(m.sub(a, y), b))))])
rule("logaddexp")(
    lambda m, g, y, a, b: [
        m.div(g, m.add(m.exp(m.sub(b, a)), 1.0)),
        m.div(g, m.add(m.exp(m.sub(a, b)), 1.0)),
    ]
)


@rule("xlogy")
def _xlogy(m: Maths, g: int, y: int, a: int, b: int) -> list[int | None]:
    """log b, 0 where a is 0 and b not above it; a / b."""
    still = m.mul(m.eq(a, 0.0), m.le(b, 0.0))
    return [m.where(still, 0.0, m.mul(g, m.log(b))), m.mul(g, m.div(a, b))]


@rule("norm")
def _norm(m: Maths, g: int, y: int, a: int, mean: int, rstd: int) -> list[int | None]:
    """rstd (g - mean(g) - y mean(g y)): the gradient through the mean and the deviation as well."""
    e = m.graph
    along = m.mul(e.row("dot", g, y), -1.0 / e.width(y))
    rest = m.add(m.mul(y, along), g)
    return [e.node("norm", (rest, e.row("mean", g), rstd), e.width(y)), None, None]


rule("take")(lambda m, g, y, a: [m.graph.put(g, m.graph.width(a), m.graph.nodes[y].attr)])
rule("put")(lambda m, g, y, a: [m.graph.take(g, m.graph.nodes[y].attr)])


rule("pick")(lambda m, g, y, a, places: [m.graph.drop(g, places, m.graph.width(a)), None])
rule("drop")(lambda m, g, y, a, places: [m.graph.pick(g, places), None])


@rule("contract")
def _contract(m: Maths, g: int, y: int, a: int, b: int) -> list[int | None]:
    how = m.graph.nodes[y].attr
    return [m.graph.contract(g, b, how.of_a), m.graph.contract(a, g, how.of_b)]
