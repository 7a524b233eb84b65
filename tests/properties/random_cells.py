"""Cells of random steps: an expression graph over every operation, as a module that carries it out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (1, 2, 3, 5, 16, 17)


@dataclass(frozen=True)
class Node:
    """args: earlier nodes. number: what else the operation takes."""

    op: str
    args: tuple[int, ...]
    width: int
    number: float = 0.0


@dataclass(frozen=True)
class Spec:
    """Nodes 0 ... are x and the parts of the state; outputs: (node, how it is kept within bounds) of each part."""

    input_size: int
    sizes: tuple[int, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        lines = [f"x {self.input_size}, state {self.sizes}"]
        for i, n in enumerate(self.nodes):
            lines.append(f"  {i}: {n.op}{n.args} : {n.width}" + (f"  {n.number:g}" if n.number else ""))
        return "\n".join([*lines, f"  -> {self.outputs}"])


def _positive(a: Tensor) -> Tensor:
    return a * a + 0.3


def _inside(a: Tensor) -> Tensor:
    return 0.9 * torch.tanh(a)


def _each(
    names: str, library: Any, of: Callable[[Tensor], Tensor]
) -> dict[str, Callable[[Tensor, float], Tensor]]:
    def made(name: str) -> Callable[[Tensor, float], Tensor]:
        function = getattr(library, name)
        return lambda a, p: function(of(a))

    return {name: made(name) for name in names.split()}


ONE: dict[str, Callable[[Tensor, float], Tensor]] = {
    **_each(
        "neg abs sigmoid tanh relu erf erfc sin cos atan asinh square floor ceil round trunc sign",
        torch,
        lambda a: a,
    ),
    **_each("exp expm1 exp2 tan asin acos sinh cosh atanh sinc", torch, _inside),
    **_each("log log1p log2 log10 sqrt rsqrt reciprocal", torch, _positive),
    **_each(
        """softplus logsigmoid silu mish gelu selu elu celu hardtanh hardsigmoid hardswish softsign
        tanhshrink hardshrink softshrink relu6 leaky_relu""",
        F,
        lambda a: a,
    ),
    "acosh": lambda a, p: torch.acosh(1 + _positive(a)),
    "logit": lambda a, p: torch.logit(0.5 + 0.4 * torch.tanh(a)),
    "gelu_tanh": lambda a, p: F.gelu(a, approximate="tanh"),
    "threshold": lambda a, p: F.threshold(a, p, 0.4),
    "times": lambda a, p: p * a,
    "plus": lambda a, p: a + p,
    "over": lambda a, p: p / _positive(a),
    "power": lambda a, p: _positive(a) ** (2 * p),
    "of a number": lambda a, p: 1.7 ** _inside(a),
    "clamp": lambda a, p: a.clamp(p - 0.6, p + 0.5),
    "clamp_min": lambda a, p: a.clamp_min(p),
    "mask": lambda a, p: a * (a > p).float(),
    "fill": lambda a, p: a.masked_fill(a < p, 0.2),
    "number there": lambda a, p: torch.where(a > p, 0.3, a),
    "numbers": lambda a, p: torch.where(a > p, 0.3, -0.6).to(a.dtype),
    "finite": lambda a, p: torch.where(a.isfinite(), a, 0.0).nan_to_num(),
    "detach": lambda a, p: a.detach(),
    "times itself detached": lambda a, p: a * a.detach(),
    "remainder": lambda a, p: a % (abs(p) + 0.7),
    "floored": lambda a, p: torch.div(a.detach(), abs(p) + 0.7, rounding_mode="floor"),
    "zeros_like": lambda a, p: torch.zeros_like(a) + p * a,
    "full_like": lambda a, p: torch.full_like(a, p),
    "ones": lambda a, p: a.new_ones(len(a), 1) * a,
    "softmax": lambda a, p: torch.softmax(a, 1),
    "log_softmax": lambda a, p: 0.3 * torch.log_softmax(a, 1),
    "layer_norm": lambda a, p: F.layer_norm(a, a.shape[1:], eps=0.1),
    "centred": lambda a, p: a - a.mean(1, keepdim=True),
    "normalize": lambda a, p: a / (a.norm(dim=1, keepdim=True) + 0.2),
    "reverse halves": lambda a, p: torch.cat(
        a.split([a.shape[1] // 2, a.shape[1] - a.shape[1] // 2], 1)[::-1], 1
    ),
    "view": lambda a, p: a.view(a.shape[0], -1).clone(),
}
#: to one column
ROW: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sum": lambda a, p: 0.3 * a.sum(1, keepdim=True),
    "mean": lambda a, p: a.mean(-1).unsqueeze(1),
    "std": lambda a, p: (a.var(1, keepdim=True, correction=0) + 0.1).sqrt(),
    "norm": lambda a, p: (a + 0.4).norm(dim=1, keepdim=True),
    "column": lambda a, p: a[:, -1:],
    "picked": lambda a, p: a[:, 0].unsqueeze(-1),
}
TWO: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "add": lambda a, b, p: a + b,
    "sub": lambda a, b, p: torch.sub(a, b, alpha=p),
    "mul": lambda a, b, p: a * b,
    "div": lambda a, b, p: a / _positive(b),
    "max": lambda a, b, p: torch.maximum(a, b + p),
    "min": lambda a, b, p: torch.minimum(a, b + p),
    "fmax": lambda a, b, p: torch.fmax(a, b + p),
    "where": lambda a, b, p: torch.where(a > b + p, a * b, b),
    "both": lambda a, b, p: torch.where((a > p) & ~(b > p), a, b),
    "either": lambda a, b, p: torch.where((a > p) | (b < p), a, b),
    "xor": lambda a, b, p: torch.where(torch.logical_xor(a > p, b > p), a, b),
    "gate": lambda a, b, p: torch.sigmoid(a) * b,
    "lerp": lambda a, b, p: torch.lerp(a, b, torch.sigmoid(a + b)),
    "lerp number": lambda a, b, p: torch.lerp(a, b, abs(p)),
    "pow": lambda a, b, p: _positive(a) ** torch.tanh(b),
    "atan2": lambda a, b, p: torch.atan2(a, _positive(b)),
    "copysign": lambda a, b, p: torch.copysign(a, b + p),
    "hypot": lambda a, b, p: torch.hypot(a, _positive(b)),
    "logaddexp": lambda a, b, p: torch.logaddexp(a, b + p),
    "xlogy": lambda a, b, p: torch.xlogy(a, _positive(b)),
    "fmod": lambda a, b, p: torch.fmod(a, b.detach().abs() + 0.8),
    "addcmul": lambda a, b, p: torch.addcmul(a, a, b, value=p),
    "clamp to": lambda a, b, p: torch.clamp(a, b - 0.8, b + 0.7),
}
#: with parameters
WEIGHED = ("linear", "no bias", "addmm", "gain", "bias", "of parameters", "prelu")
BOUNDED = frozenset(
    "x state sigmoid tanh erf sin cos softmax numbers full_like hardtanh hardsigmoid sign".split()
)


class RandomCell(nn.Module):
    def __init__(self, spec: Spec, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.weights = nn.ParameterDict()
        rng = torch.Generator().manual_seed(seed)
        for node in spec.nodes:
            for name, shape in self._shapes(node).items():
                if name not in self.weights:
                    values = torch.randn(shape, generator=rng) / shape[-1] ** 0.5
                    self.weights[name] = nn.Parameter(values)

    def _shapes(self, node: Node) -> dict[str, tuple[int, ...]]:
        """Names hold the shapes and a number: nodes of like shapes share weights at times."""
        if node.op not in WEIGHED:
            return {}
        made = {f"v{node.width}_{int(node.number)}": (node.width,)}
        if node.op in ("linear", "no bias", "addmm"):
            inner = self.spec.nodes[node.args[0]].width
            made[f"w{node.width}x{inner}_{int(node.number)}"] = (node.width, inner)
        return made

    def initial_state(self, batch_size: int) -> Any:
        parts = tuple(torch.zeros(batch_size, size) for size in self.spec.sizes)
        return parts if len(parts) > 1 else parts[0]

    def forward(self, x: Tensor, state: Any) -> Any:
        parts = state if isinstance(state, tuple) else (state,)
        made: list[Tensor] = [x, *parts]
        for node in self.spec.nodes[len(made) :]:
            made.append(self._value(node, [made[a] for a in node.args]))
        new = []
        for (i, bound), old in zip(self.spec.outputs, parts):
            value = made[i]
            if bound != "as is":
                value = torch.tanh(value)
            new.append(0.6 * old + 0.4 * value if bound == "mixed" else value)
        return tuple(new) if isinstance(state, tuple) else new[0]

    def _value(self, node: Node, args: list[Tensor]) -> Tensor:
        a = args[0]
        if node.op in WEIGHED:
            names = list(self._shapes(node))
            vector = self.weights[names[0]]
            if node.op == "linear":
                return F.linear(a, self.weights[names[1]], vector)
            if node.op == "no bias":
                return F.linear(a, self.weights[names[1]])
            if node.op == "addmm":
                return torch.addmm(args[1], a, self.weights[names[1]].t())
            if node.op == "of parameters":
                return torch.tanh(torch.zeros_like(a) + vector) * a
            return (
                a * vector if node.op == "gain" else a + vector if node.op == "bias" else F.prelu(a, vector)
            )
        if node.op == "slice":
            return a[:, int(node.number) : int(node.number) + node.width]
        if node.op == "cat":
            return torch.cat(args, 1)
        if node.op == "spread":
            return a.expand(-1, node.width)
        return TWO[node.op](*args, node.number) if node.op in TWO else {**ONE, **ROW}[node.op](a, node.number)


def random_spec(seed: int, length: int | None = None) -> Spec:
    rng = random.Random(seed)
    sizes = tuple(rng.choice(WIDTHS) for _ in range(rng.choice((1, 1, 2, 2, 3))))
    input_size = rng.choice(WIDTHS)
    nodes = [Node("x", (), input_size), *(Node("state", (), size) for size in sizes)]
    for _ in range(rng.randint(2, 14) if length is None else length):
        nodes.append(_random_node(rng, nodes))
    outputs = []
    for k, size in enumerate(sizes):
        fitting = [i for i, n in enumerate(nodes) if n.width == size]
        i = rng.choice(fitting[-3:] if rng.random() < 0.7 else fitting)
        if (
            k == 0 or not fitting or rng.random() < 0.2
        ):  # something of the last value, and weights, in the output
            nodes.append(Node("linear", (len(nodes) - 1,), size, rng.randint(0, 1)))
            if rng.random() < 0.8:
                nodes.append(Node(rng.choice(["add", "mul", "gate"]), (len(nodes) - 1, i), size))
            i = len(nodes) - 1
        bounded = nodes[i].op in BOUNDED and rng.random() < 0.7
        outputs.append((i, "as is" if bounded else rng.choice(["tanh", "tanh", "mixed"])))
    return Spec(input_size, sizes, tuple(nodes), tuple(outputs))


def _random_node(rng: random.Random, nodes: list[Node]) -> Node:
    a = rng.randrange(len(nodes))
    width, number = nodes[a].width, round(rng.uniform(-0.9, 0.9), 2) or 0.11
    kind = rng.choice("one one one two two two weighed weighed slice slice cat row spread".split())
    if kind == "two":
        alike = [i for i, n in enumerate(nodes) if n.width in (1, width)]
        return Node(rng.choice(list(TWO)), (a, rng.choice(alike)), width, number)
    if kind == "slice" and width > 1:
        part = rng.randint(1, width - 1)
        return Node("slice", (a,), part, rng.randint(0, width - part))
    if kind == "cat":
        other = rng.randrange(len(nodes))
        return Node("cat", (a, other), width + nodes[other].width)
    if kind == "row":
        return Node(rng.choice(list(ROW)), (a,), 1, number)
    if kind == "spread" and width == 1:
        return Node("spread", (a,), rng.choice(WIDTHS))
    if kind == "weighed":
        op, number = rng.choice(WEIGHED), rng.randint(0, 1)
        if op in ("linear", "no bias"):
            return Node(op, (a,), rng.choice(WIDTHS), number)
        if op == "addmm":
            start = rng.randrange(len(nodes))
            return Node(op, (a, start), nodes[start].width, number)
        return Node(op, (a,), width, number)
    return Node(rng.choice(list(ONE)), (a,), width, number)


def smaller(spec: Spec) -> list[Spec]:
    """Specs with one node fewer: its users read an operand of the same width instead, or nothing reads it."""
    first, made = 1 + len(spec.sizes), []
    for i in range(len(spec.nodes) - 1, first - 1, -1):
        alike = [a for a in (*spec.nodes[i].args, *range(i)) if spec.nodes[a].width == spec.nodes[i].width]
        if not alike:
            continue

        def moved(a: int, i: int = i, to: int = alike[0]) -> int:
            a = to if a == i else a
            return a - (a > i)

        nodes = [replace(n, args=tuple(moved(a) for a in n.args)) for k, n in enumerate(spec.nodes) if k != i]
        outputs = tuple((moved(o), bound) for o, bound in spec.outputs)
        made.append(replace(spec, nodes=tuple(nodes), outputs=outputs))
    return made
