"""Every operation by itself: values and gradients against torch in float64, edge values, accuracy in ULP."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unspool import Ragged
from unspool.engine.dispatch import Direction, program_of
from unspool.engine.plan import make_plan
from unspool.nn import Recurrent
from unspool.program.gradient import RULES
from unspool.program.ir import EACH
from unspool.program.lowering import LOWERINGS

from . import test_axes

WIDTH = 21
INF, NAN = math.inf, math.nan


class OnInput(nn.Module):
    """The operation in the prologue: of the input (B, count * WIDTH)."""

    def __init__(self, function: Callable[..., Tensor], count: int, width: int = WIDTH) -> None:
        super().__init__()
        self.function, self.count, self.width = function, count, width
        self.scale = nn.Parameter(torch.ones(()))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, self.width)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return self.function(*x.split(self.width, dim=1))


class OnState(OnInput):
    """The operation in the time loop: of the parts of the state, of which the others stay."""

    def initial_state(self, batch_size: int) -> Any:
        return tuple(torch.zeros(batch_size, self.width) for _ in range(self.count))

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.function(*state), *state[1:]


def apply(where: type[OnInput], function: Callable[..., Tensor], parts: list[Tensor]) -> Tensor:
    """`function(*parts)` by the native engine; parts (B, width), one row a sequence of one step."""
    rows, width = parts[0].shape
    offsets = torch.arange(rows + 1)
    layer = Recurrent(where(function, len(parts), width), engine="native")
    if where is OnInput:
        return layer(Ragged(torch.cat(parts, dim=1), offsets))[0].values
    state = tuple(parts)
    return layer(Ragged(torch.zeros(rows, 1), offsets), state)[0].values


# name: (function, range of each operand)
ANY, POSITIVE = (-4.0, 4.0), (0.05, 6.0)
CASES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[float, float], ...]]] = {
    "neg": (torch.neg, (ANY,)),
    "abs": (torch.abs, (ANY,)),
    "exp": (torch.exp, (ANY,)),
    "expm1": (torch.expm1, (ANY,)),
    "log": (torch.log, (POSITIVE,)),
    "log1p": (torch.log1p, (POSITIVE,)),
    "tanh": (torch.tanh, (ANY,)),
    "sigmoid": (torch.sigmoid, (ANY,)),
    "sqrt": (torch.sqrt, (POSITIVE,)),
    "rsqrt": (torch.rsqrt, (POSITIVE,)),
    "relu": (torch.relu, (ANY,)),
    "erf": (torch.erf, (ANY,)),
    "reciprocal": (torch.reciprocal, (POSITIVE,)),
    "square": (torch.square, (ANY,)),
    "silu": (F.silu, (ANY,)),
    "mish": (F.mish, (ANY,)),
    "gelu": (F.gelu, (ANY,)),
    "gelu_tanh": (lambda a: F.gelu(a, approximate="tanh"), (ANY,)),
    "softplus": (F.softplus, (ANY,)),
    "softplus_beta": (lambda a: F.softplus(a, beta=2.5), (ANY,)),
    "softplus_threshold": (lambda a: F.softplus(a, threshold=1.0), (ANY,)),
    "logsigmoid": (F.logsigmoid, (ANY,)),
    "elu": (lambda a: F.elu(a, alpha=0.7), (ANY,)),
    "selu": (F.selu, (ANY,)),
    "leaky_relu": (lambda a: F.leaky_relu(a, 0.1), (ANY,)),
    "hardtanh": (lambda a: F.hardtanh(a, -0.5, 1.5), (ANY,)),
    "hardsigmoid": (F.hardsigmoid, (ANY,)),
    "hardswish": (F.hardswish, (ANY,)),
    "clamp": (lambda a: a.clamp(-1, 2), (ANY,)),
    "clamp_min": (lambda a: a.clamp_min(0.25), (ANY,)),
    "clamp_max": (lambda a: a.clamp_max(0.25), (ANY,)),
    "clamp_crossed": (lambda a: a.clamp(2.0, 1.0) + a, (ANY,)),
    **{f"pow {p}": ((lambda a, p=p: a**p), (POSITIVE,)) for p in (-2, -1, -0.5, 0.5, 1, 2, 3, 4)},
    "add": (lambda a, b: torch.add(a, b, alpha=-1.5), (ANY, ANY)),
    "sub": (lambda a, b: torch.sub(a, b, alpha=0.5), (ANY, ANY)),
    "rsub": (lambda a, b: torch.rsub(a, b, alpha=2.0), (ANY, ANY)),
    "mul": (torch.mul, (ANY, ANY)),
    "div": (torch.div, (ANY, POSITIVE)),
    "div number": (lambda a: a / 7.0 + 3.0 / (a + 9.0), (ANY,)),
    "maximum": (torch.maximum, (ANY, ANY)),
    "minimum": (torch.minimum, (ANY, ANY)),
    "lerp": (torch.lerp, (ANY, ANY, ANY)),
    "lerp number": (lambda a, b: torch.lerp(a, b, 0.3), (ANY, ANY)),
    "addcmul": (lambda a, b, c: torch.addcmul(a, b, c, value=0.5), (ANY, ANY, ANY)),
    "where": (lambda a, b, c: torch.where(a > 0.1, b, c * 2), (ANY, ANY, ANY)),
    "ge lt": (lambda a, b: torch.where((a >= b) & (a < 2), a, b), (ANY, ANY)),
    "le or": (lambda a, b: torch.where((a <= b) | (b > 1), a * b, a), (ANY, ANY)),
    "eq ne": (lambda a, b: torch.where(torch.relu(a) == 0, b, 0.5) + a * (torch.relu(b) != 0), (ANY, ANY)),
    "not": (lambda a, b: torch.where(~(a > 0), b, a) + b * torch.logical_not(b > a).float(), (ANY, ANY)),
    "not number": (lambda a, b: torch.where(torch.logical_not(torch.relu(a)), b, a), (ANY, ANY)),
    "bool sum": (lambda a, b: a * ((a > 0) + (b > 0)), (ANY, ANY)),
    "to bool": (lambda a, b: torch.where(torch.relu(a).bool(), b, a) * b.bool(), (ANY, ANY)),
    "mask": (lambda a: a * (a > 0).to(a.dtype), (ANY,)),
    "sum": (lambda a: a + a.sum(1, keepdim=True), (ANY,)),
    "sum flat": (lambda a: a * torch.tanh(a.sum(-1)).unsqueeze(1), (ANY,)),
    "mean": (lambda a: a * a.mean(dim=-1, keepdim=True), (ANY,)),
    "var": (lambda a: a * a.var(dim=1, keepdim=True), (ANY,)),
    "std": (lambda a: a * a.std(dim=1, keepdim=True, correction=0), (ANY,)),
    "softmax": (lambda a: torch.softmax(a, dim=1), (ANY,)),
    "log_softmax": (lambda a: torch.log_softmax(a, dim=-1), (ANY,)),
    "layer_norm": (lambda a: F.layer_norm(a, a.shape[1:]), (ANY,)),
    "cat split": (lambda a, b: torch.cat([b[:, 5:], a[:, :3].neg(), a[:, 19:] * b[:, 3:5]], 1), (ANY, ANY)),
    "split": (lambda a: torch.cat([*a.split(8, dim=1)][::-1], dim=1), (ANY,)),
    "split sizes": (lambda a: torch.cat(a.split([1, 18, 2], dim=1)[::-1], dim=1), (ANY,)),
    "select": (lambda a: a * a[:, 3].unsqueeze(-1) + a[:, -1:].expand(-1, a.shape[1]), (ANY,)),
    "unbind": (lambda a: torch.cat([p.view(-1, 1) for p in reversed(a.unbind(1))], dim=1), (ANY,)),
    "squeeze": (lambda a: a + (a[:, :1].squeeze(1) * 2).reshape(-1, 1), (ANY,)),
    "copies": (lambda a: a.clone() + a[:] * a.contiguous().reshape(a.shape) + a.view(-1, a.shape[1]), (ANY,)),
    "filled": (
        lambda a: a * torch.zeros_like(a) + torch.ones_like(a) * 0.5 + torch.full_like(a, 2.0),
        (ANY,),
    ),
    "new": (
        lambda a: a + a.new_ones(a.shape) + a.new_full((len(a), 1), 0.5) * a + a.new_zeros(len(a), 1),
        (ANY,),
    ),
}


def operands(ranges: tuple[tuple[float, float], ...], rows: int = 7) -> list[Tensor]:
    torch.manual_seed(3)
    return [torch.empty(rows, WIDTH).uniform_(low, high) for low, high in ranges]


def gradients(function: Callable[..., Tensor], parts: list[Tensor]) -> list[Tensor]:
    parts = [p.clone().requires_grad_() for p in parts]
    out = function(*parts)
    weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
    given = torch.autograd.grad(out, parts, weight, allow_unused=True)
    return [out.detach(), *(torch.zeros_like(p) if g is None else g for p, g in zip(parts, given))]


@pytest.mark.parametrize("where", [OnInput, OnState])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, where: type[OnInput]) -> None:
    function, ranges = CASES[name]
    parts = operands(ranges)
    exact = gradients(function, [p.double() for p in parts])
    fast = gradients(lambda *ps: apply(where, function, list(ps)), parts)
    for got, expected in zip(fast, exact):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=3e-6)


EDGES = torch.tensor([0.0, -0.0, 1.0, -1.0, 20.0, -20.0, 90.0, -90.0, 1e30, -1e30, INF, -INF, NAN, 3.0, -3.0])
EDGE_CASES = """neg abs exp expm1 log tanh sigmoid sqrt rsqrt relu erf reciprocal square softplus logsigmoid elu
    leaky_relu hardtanh hardsigmoid clamp clamp_min clamp_max""".split()


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_values(name: str) -> None:
    """Zeros, large numbers, infinities and NaN come out as in torch.

    Below 1.2e-38 results are flushed to 0; sigmoid stays at or above e^-87 = 1.7e-38.
    """
    function = CASES[name][0]
    got = apply(OnInput, function, [EDGES[None]])
    torch.testing.assert_close(got, function(EDGES[None]), rtol=2e-6, atol=1.7e-38, equal_nan=True)


@pytest.mark.parametrize("name", ["maximum", "minimum", "add", "mul", "div", "where"])
def test_edge_values_of_two(name: str) -> None:
    function = torch.where if name == "where" else getattr(torch, name)
    a, b = EDGES.repeat_interleave(len(EDGES))[None], EDGES.repeat(len(EDGES))[None]
    if name == "where":
        function = lambda a, b: torch.where(a > b, a, b)  # noqa: E731
    torch.testing.assert_close(
        apply(OnInput, function, [a, b]), function(a, b), equal_nan=True, rtol=1e-6, atol=0
    )


TIES = {
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "relu": lambda a, b: torch.relu(a - b),
    "abs": lambda a, b: torch.abs(a - b),
    "clamp": lambda a, b: (a - b).clamp(0.0, 1.0),
    "hardtanh": lambda a, b: F.hardtanh(a - b, 0.0, 1.0),
    "leaky_relu": lambda a, b: F.leaky_relu(a - b, 0.1),
    "elu": lambda a, b: F.elu(a - b),
    "where": lambda a, b: torch.where(a >= b, a * b, a),
    "hardsigmoid": lambda a, b: F.hardsigmoid(3 * (a - b)),
}


@pytest.mark.parametrize("name", TIES)
def test_gradient_at_ties(name: str) -> None:
    """Where both branches meet the gradient is torch's: 1/2 each for maximum, 0 for relu at 0, ..."""
    function = TIES[name]
    a = torch.tensor([[2.0, 2.0, 2.0, 2.0, 2.0]])
    b = torch.tensor([[2.0, 1.0, 3.0, 4.0, 0.5]])
    fast = gradients(lambda *ps: apply(OnInput, function, list(ps)), [a, b])
    for got, expected in zip(fast, gradients(function, [a, b])):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


# (function, lowest, highest, largest error in units of the last place): the worst of all instruction sets, measured,
# rounded up. Below -69 a step of exp on processors without fma is smaller than the smallest normal number.
ULP: dict[str, tuple[Callable[[Tensor], Tensor], float, float, float]] = {
    "exp": (torch.exp, -69.0, 80.0, 1.1),
    "expm1": (torch.expm1, -15.0, 15.0, 1.5),
    "log": (torch.log, 1e-6, 1e6, 0.8),
    "tanh": (torch.tanh, -9.0, 9.0, 3.4),
    "sigmoid": (torch.sigmoid, -80.0, 80.0, 2.4),
    "softplus": (F.softplus, -69.0, 80.0, 2.5),
    "sqrt": (torch.sqrt, 1e-6, 1e6, 0.5),
    "rsqrt": (torch.rsqrt, 1e-6, 1e6, 1.5),
    "erf": (torch.erf, -4.0, 4.0, 0.8),
}


def ulps(got: Tensor, exact: Tensor) -> np.ndarray:
    spacing = np.spacing(np.abs(exact.numpy()).astype(np.float32)).astype(np.float64)
    return np.abs(got.double().numpy() - exact.numpy()) / spacing


@pytest.mark.parametrize("name", ULP)
def test_accuracy(name: str) -> None:
    function, low, high, allowed = ULP[name]
    if low > 0:
        x = torch.logspace(math.log10(low), math.log10(high), 60_000)
    else:
        tiny = torch.logspace(-30, 0, 5_000)
        x = torch.cat([torch.linspace(low, high, 50_000), tiny, -tiny])
    got = apply(OnInput, function, [x.reshape(-1, 100)]).reshape(-1)
    worst = ulps(got, function(x.double())).max()
    assert worst <= allowed, f"{name}: {worst:.2f} ULP"


class Seen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_every_operation_is_covered() -> None:
    """The cases reach every lowering; their programs hold every operation that has a rule."""
    with Seen() as seen, torch.no_grad():
        for function, ranges in CASES.values():
            function(*operands(ranges))
        for of_axes in test_axes.CASES.values():
            of_axes(test_axes.Weights(), torch.randn(7, test_axes.WIDTH), torch.randn(7, test_axes.WIDTH))
    by_contract = {"mm", "addmm"}  # products: test_contract.py
    # torch may spell these otherwise
    by_torch = {"square", "_unsafe_view", "reshape", "lift_fresh", "alias", "norm"}
    by_torch |= {"_reshape_alias", "_fused_rms_norm"}
    refused = {"detach", "empty_like", "new_empty"}  # test_trace.py
    assert set(LOWERINGS) - seen.names <= by_contract | by_torch | refused
    ops: set[str] = set()
    made: list[tuple[Any, int]] = [(OnState(function, len(ranges)), 1) for function, ranges in CASES.values()]
    made += [(test_axes.OnState(function), 2 * test_axes.WIDTH) for function in test_axes.CASES.values()]
    for cell, input_size in made:
        program = program_of(Direction(cell), input_size, cell.initial_state(2))
        assert not isinstance(program, str), program
        ops |= {node.op for node in make_plan(program, True, True).program.graph.nodes}
    assert set(RULES) <= ops
    assert EACH - ops <= {"fma"}  # made when tapes are written
