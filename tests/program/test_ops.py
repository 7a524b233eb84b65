"""Every operation by itself: values and gradients against torch in float64, edge values, accuracy in ULP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unspool import Ragged
from unspool.engine.plan import make_plan
from unspool.engine.programs import program_of
from unspool.nn import Recurrent
from unspool.program import pairs
from unspool.program.gradient import RULES
from unspool.program.ir import EACH
from unspool.program.lowering import LOWERINGS

from . import test_axes
from .function_cases import ANY, FUNCTIONS, POSITIVE

WIDTH = 21


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
CASES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[float, float], ...]]] = {
    "neg": (torch.neg, (ANY,)),
    "abs": (torch.abs, (ANY,)),
    "exp": (torch.exp, (ANY,)),
    "log": (torch.log, (POSITIVE,)),
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
    **FUNCTIONS,
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
    by_torch |= set("isnan isfinite selu floor_divide logical_xor clamp_max clamp_min".split())
    assert set(LOWERINGS) - seen.names <= by_contract | by_torch
    by_torch |= {"mv", "rsub", "_to_copy", "conj_physical", "reciprocal"}
    assert set(pairs.OPERATIONS) - seen.names <= by_torch
    ops: set[str] = set()
    made: list[tuple[Any, int]] = [(OnState(function, len(ranges)), 1) for function, ranges in CASES.values()]
    made += [(test_axes.OnState(function), 2 * test_axes.WIDTH) for function in test_axes.CASES.values()]
    for cell, input_size in made:
        program = program_of(cell, input_size, cell.initial_state(2))
        assert not isinstance(program, str), program
        ops |= {node.op for node in make_plan(program, True, True).program.graph.nodes}
    assert set(RULES) <= ops
    assert EACH - ops <= {"fma"}  # made when tapes are written
