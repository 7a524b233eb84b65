"""Dropout where weights multiply the state: functions of it times kinds of product, against masks put in by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from unspool import Ragged, cells, explain_path
from unspool.errors import InvalidParameterError
from unspool.nn import Recurrent
from unspool.state import flatten

B, T, F_, H = 3, 4, 5, 6
P = 0.4

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "h": lambda h: h,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda h: F.gelu(h, approximate="tanh"),
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "logsigmoid": F.logsigmoid,
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "threshold": lambda h: F.threshold(h, 0.1, 0.2),
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log1p": lambda h: torch.log1p(h.abs()),
    "sqrt": lambda h: (h.abs() + 0.1).sqrt(),
    "rsqrt": lambda h: (h.abs() + 0.1).rsqrt(),
    "square": torch.square,
    "cube": lambda h: h**3,
    "abs": torch.abs,
    "neg": lambda h: -h,
    "reciprocal": lambda h: (h.abs() + 1).reciprocal(),
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "erf": torch.erf,
    "clamp": lambda h: h.clamp(-0.3, 0.4),
    "sign": torch.sign,
    "where": lambda h: torch.where(h > 0, h, 0.1 * h),
    "maximum": lambda h: torch.maximum(h, 0.5 * h),
    "scaled": lambda h: 0.5 * h,
    "shifted": lambda h: h + 1,
    "gated": lambda h: h * torch.sigmoid(1.702 * h),
    "lerp": lambda h: torch.lerp(h, h * h, 0.3),
    "addcmul": lambda h: torch.addcmul(h, h, h, value=0.5),
    "clone": lambda h: h.clone(),
    "contiguous": lambda h: h.contiguous(),
    "layer_norm": lambda h: F.layer_norm(h, (H,)),
    "softmax": lambda h: torch.softmax(h, dim=-1),
}

# a cell's weights and x (B, F) -> what multiplies a (B, H)
PRODUCTS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "linear": lambda c, x, a: F.linear(a, c.v),
    "linear_bias": lambda c, x, a: F.linear(a, c.v, c.b),
    "at": lambda c, x, a: a @ c.v,
    "at_t": lambda c, x, a: a @ c.v.t(),
    "T": lambda c, x, a: a @ c.v.T,
    "weights_first": lambda c, x, a: (c.v @ a.t()).t(),
    "mm": lambda c, x, a: torch.mm(a, c.v),
    "addmm": lambda c, x, a: torch.addmm(c.b, a, c.v),
    "baddbmm": lambda c, x, a: torch.baddbmm(c.b.expand(1, 1, H), a[None], c.v[None])[0],
    "bmm": lambda c, x, a: torch.bmm(a[None], c.v[None])[0],
    "einsum": lambda c, x, a: torch.einsum("bi,oi->bo", a, c.v),
    "einsum_first": lambda c, x, a: torch.einsum("oi,bi->bo", c.v, a),
    "tensordot": lambda c, x, a: torch.tensordot(a, c.v, dims=1),
    "inner": lambda c, x, a: torch.inner(a, c.v),
    "mv": lambda c, x, a: torch.mv(a, c.v[0])[:, None].expand(-1, H),
    "sum": lambda c, x, a: (a * c.v[0]).sum(1, keepdim=True).expand(-1, H),
    "broadcast": lambda c, x, a: (a[:, None, :] * c.v).sum(-1),
    "sliced": lambda c, x, a: F.linear(a, c.wide[:, F_:]),
    "joined": lambda c, x, a: F.linear(torch.cat([x, a], dim=1), c.wide),
    "joined_flipped": lambda c, x, a: F.linear(torch.cat([x, a], dim=1).flip(1), c.wide.flip(1)),
    "split": lambda c, x, a: torch.cat([F.linear(a, part) for part in c.v.chunk(2)], dim=1),
    "rows_of_h": lambda c, x, a: F.linear(a[:, :2], c.v[:, :2]) + F.linear(a[:, 2:], c.v[:, 2:]),
    "tied": lambda c, x, a: F.linear(a, c.v) + a @ c.v,
    "normed": lambda c, x, a: c.normed(a),
    "computed": lambda c, x, a: a @ (c.v - c.v.t()),
    "bilinear": lambda c, x, a: F.bilinear(x, a, c.cube),
    "conv1d": lambda c, x, a: F.conv1d(a[:, :, None], c.v[:, :, None])[:, :, 0],
}


class Cell(nn.Module):
    """h' = tanh(W x + U h + 0.3 V·f(h)); `mask` is multiplied by hand with what the products take."""

    def __init__(self, function: str, product: str) -> None:
        super().__init__()
        self.f, self.product = FUNCTIONS[function], PRODUCTS[product]
        self.input_size, self.hidden_size = F_, H
        shapes = {"w": (H, F_), "u": (H, H), "v": (H, H), "b": (H,), "wide": (H, F_ + H), "cube": (H, F_, H)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(0.5 * torch.randn(shape)))
        self.normed = parametrizations.weight_norm(nn.Linear(H, H, bias=False))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, H, dtype=self.w.dtype)

    def forward(self, x: Tensor, h: Tensor, mask: Any = 1.0) -> Tensor:
        second = self.product(self, x, mask * self.f(h) if torch.is_tensor(mask) else self.f(h))
        return torch.tanh(F.linear(x, self.w) + F.linear(mask * h, self.u) + 0.3 * second)


def check(cell: Cell) -> str:
    """Outputs and gradients against the loop by hand, or "refused"."""
    x = torch.randn(B, T, F_)
    try:
        layer = Recurrent(cell, recurrent_dropout=P)
    except InvalidParameterError as error:
        assert "cannot be told" in str(error) and "The reason: " in str(error)
        return "refused"
    torch.manual_seed(3)
    output, final = layer(x)
    found = torch.autograd.grad(output.sin().sum(), list(cell.parameters()), allow_unused=True)
    torch.manual_seed(3)
    mask, h, steps = F.dropout(torch.ones(B, H), P), torch.zeros(B, H), []
    for t in range(T):
        h = cell(x[:, t], h, mask)
        steps.append(h)
    expected = torch.stack(steps, dim=1)
    wanted = torch.autograd.grad(expected.sin().sum(), list(cell.parameters()), allow_unused=True)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(final, h, rtol=1e-4, atol=1e-5)
    for got, want in zip(found, wanted, strict=True):
        if want is not None and got is not None:
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
        else:
            assert got is None or not got.any()
            assert want is None or not want.any()
    return explain_path(layer, x)


# A program need not have these; where it has not, dropout is refused in words rather than left out.
MAY_BE_REFUSED = frozenset("celu softshrink hardshrink threshold sin cos atan sign bilinear".split())


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("function", ["h", "silu", "layer_norm"])
def test_kinds_of_product(function: str, product: str) -> None:
    torch.manual_seed(0)
    assert check(Cell(function, product)) == "native" or product in MAY_BE_REFUSED


@pytest.mark.parametrize("product", ["linear", "joined"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_of_the_state(function: str, product: str) -> None:
    torch.manual_seed(0)
    assert check(Cell(function, product)) == "native" or function in MAY_BE_REFUSED


class Step(nn.Module):
    """A step given as a function (cell, x, state, masks) -> state; state parts of H units each, masks of 1 for none."""

    def __init__(self, step: Callable[..., Any], parts: int) -> None:
        super().__init__()
        self.step, self.parts = step, parts
        self.input_size = H
        for name in "uvw":
            self.register_parameter(name, nn.Parameter(0.5 * torch.randn(H, H)))
        self.wide = nn.Parameter(0.3 * torch.randn(H, 2 * H))

    def initial_state(self, batch_size: int) -> Any:
        state = tuple(torch.zeros(batch_size, H, dtype=self.u.dtype) for _ in range(self.parts))
        return state[0] if self.parts == 1 else state

    def forward(self, x: Tensor, state: Any, masks: Any = (1.0, 1.0)) -> Any:
        return self.step(self, x, state, masks)


def two_layers(c: Any, x: Tensor, state: Any, m: Any) -> Any:
    """The second takes the first's new state, which is no old one."""
    a, b = state
    a = torch.tanh(x + m[0] * a @ c.u) + 0.5 * a
    return torch.tanh(a @ c.w + (m[1] * b) @ c.v), a


def recurrent_highway(c: Any, x: Tensor, h: Tensor, m: Any) -> Tensor:
    """What a unit carries on to the next micro-layer still is that unit (Zilly et al. 2017 share the mask, too)."""
    t = torch.sigmoid((m[0] * h) @ c.u)
    s = t * torch.tanh(x) + (1 - t) * h
    return torch.tanh((m[0] * s) @ c.v) + s


# (step, parts of the state, parts that have a mask)
STEPS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "gate": (lambda c, x, h, m: torch.tanh(x + m[0] * (torch.sigmoid(x + m[0] * h @ c.u) * h) @ c.v), 1, 1),
    "with_the_input": (lambda c, x, h, m: torch.tanh((m[0] * (h + x)) @ c.u), 1, 1),
    "with_a_product": (lambda c, x, h, m: torch.tanh(x + (m[0] * (h + (m[0] * h) @ c.u)) @ c.v), 1, 1),
    "slices": (lambda c, x, h, m: torch.cat([(m[0] * h)[:, :2] @ c.u[:2, :2], x[:, 2:]], 1), 1, 1),
    "halves_swapped": (
        lambda c, x, h, m: torch.tanh(x + torch.cat([(m[0] * h)[:, 2:], (m[0] * h)[:, :2]], 1) @ c.u),
        1,
        1,
    ),
    "one_unit_for_all": (lambda c, x, h, m: torch.tanh(x + (m[0] * h)[:, :1].expand(-1, H) @ c.u), 1, 1),
    "one_unit_in_a_product": (lambda c, x, h, m: torch.tanh(x * (m[0] * h)[:, 3:4] @ c.u), 1, 1),
    "heads": (
        lambda c, x, h, m: torch.tanh(
            x
            + torch.einsum("bni,nij->bnj", (m[0] * h).unflatten(1, (2, 3)), c.u.view(4, 3, 3)[:2]).flatten(1)
        ),
        1,
        1,
    ),
    "reversed": (lambda c, x, h, m: torch.tanh(x + (m[0] * h).flip(1) @ c.u), 1, 1),
    "picked": (lambda c, x, h, m: torch.tanh(x + (m[0] * h)[:, ::2] @ c.u[:3]), 1, 1),
    "both_parts": (
        lambda c, x, s, m: (torch.tanh(x + F.linear(torch.cat([m[0] * s[0], m[1] * s[1]], 1), c.wide)), s[0]),
        2,
        2,
    ),
    "part_carried_on": (lambda c, x, s, m: (torch.tanh(x + s[1]), (m[0] * s[0]) @ c.u), 2, 1),
    "peephole_of_the_new": (
        lambda c, x, s, m: ((n := torch.tanh(x + (m[0] * s[0]) @ c.u) + s[1]) * torch.sigmoid(n @ c.v), n),
        2,
        1,
    ),
    "two_layers": (two_layers, 2, 2),
    "recurrent_highway": (recurrent_highway, 1, 1),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_what_a_product_takes_decides_unit_by_unit(name: str, dtype: torch.dtype) -> None:
    step, parts, masked = STEPS[name]
    torch.manual_seed(0)
    cell = Step(step, parts).to(dtype)
    layer = Recurrent(cell, recurrent_dropout=P)
    x, start = torch.randn(B, T, H, dtype=dtype), cell.initial_state(B)
    start = torch.randn(B, H, dtype=dtype) if parts == 1 else tuple(torch.randn_like(part) for part in start)
    torch.manual_seed(3)
    output, final = layer(x, start)
    found = torch.autograd.grad(output.sin().sum(), list(cell.parameters()), allow_unused=True)
    torch.manual_seed(3)
    ones = torch.ones(B, H, dtype=dtype)
    masks = [F.dropout(ones, P) for _ in range(masked)] + [ones] * (parts - masked)
    state, steps = start, []
    for t in range(T):
        state = cell(x[:, t], state, masks)
        steps.append(flatten(state)[0])
    expected = torch.stack(steps, dim=1)
    wanted = torch.autograd.grad(expected.sin().sum(), list(cell.parameters()), allow_unused=True)
    for got, want in zip(
        [output, *flatten(final), *found], [expected, *flatten(state), *wanted], strict=True
    ):
        if want is None:
            assert got is None or not got.any()
        else:
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert explain_path(layer, x).startswith("native" if dtype == torch.float32 else "eager: ")


def hooked() -> nn.Module:
    cell = cells.GRUCell(3, 4)
    cell.register_forward_hook(lambda *_: None)
    return cell


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "two_parts": (
        lambda: Step(lambda c, x, s, m: ((s[0] + s[1]) @ c.u, s[0] + x), 2),
        "two units of the state went into",
    ),
    "two_units": (
        lambda: Step(lambda c, x, h, m: (h * torch.cat([h[:, 1:], h[:, :1]], 1)) @ c.u + x, 1),
        "two units of the state went into",
    ),
    "a_mean": (
        lambda: Step(lambda c, x, h, m: torch.cat([h.mean(1, True), x[:, 1:]], 1) @ c.u, 1),
        "several units of the state went into",
    ),
    "random": (lambda: Step(lambda c, x, h, m: F.dropout(h) @ c.u + x, 1), "random numbers"),
    "no_program": (lambda: Step(lambda c, x, h, m: torch.special.i0e(h) @ c.u + x, 1), "uses .*i0e"),
    "bilinear": (lambda: Cell("h", "bilinear"), "numbers made of the input in a product"),
    "hooks": (hooked, "GRUCell has hooks"),
    "a_failing_step": (lambda: Step(lambda c, x, h, m: h @ c.u[:2], 1), "a batch of 2 failed: RuntimeError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_decided_is_an_error(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(InvalidParameterError, match=f"'recurrent_dropout' .* cannot be told.* {reason}"):
        Recurrent(make(), recurrent_dropout=0.3)


@pytest.mark.parametrize("product", sorted(PRODUCTS.keys() - MAY_BE_REFUSED))
@pytest.mark.parametrize("function", ["h", "silu", "exp", "layer_norm"])
def test_weight_dropout_of_every_kind_of_product(function: str, product: str) -> None:
    """With p near 1 every weight of the state is 0, and what the input's weights and biases give is left."""
    torch.manual_seed(0)
    cell = Cell(function, product)
    layer = Recurrent(cell, weight_dropout=1 - 1e-9)
    x = torch.randn(B, T, F_)
    zero = {
        name: torch.zeros_like(p) for name, p in cell.named_parameters() if name not in ("w", "b", "wide")
    }
    zero["wide"] = cell.wide.detach() * (torch.arange(F_ + H) < F_)
    zero["normed.parametrizations.weight.original1"] = torch.ones_like(
        cell.normed.weight
    )  # 0 times 1 / its norm
    h, steps = torch.zeros(B, H), []
    for t in range(T):
        h = torch.func.functional_call(cell, zero, (x[:, t], h))
        steps.append(h)
    torch.testing.assert_close(layer(x)[0], torch.stack(steps, dim=1), rtol=1e-5, atol=1e-5)


def test_an_entry_is_dropped_wherever_it_is_used() -> None:
    """h' = h (U - U') + x in two products of one parameter: 0 for every mask, if both have the same."""
    torch.manual_seed(0)
    cell = Step(lambda c, x, h, m: x + h @ c.u - F.linear(h, c.u.t()) + 0 * h @ c.u[:, :H], 1)
    x = torch.randn(B, T, H)
    torch.testing.assert_close(Recurrent(cell, weight_dropout=0.5)(x)[0], x, rtol=1e-5, atol=1e-5)


def test_a_setting_that_changes_is_seen() -> None:
    torch.manual_seed(0)
    cell = Step(lambda c, x, h, m: x + c.scale * h @ c.u, 1)
    cell.scale = 1.0
    layer, x = Recurrent(cell, recurrent_dropout=0.5), torch.randn(B, T, H)
    assert not torch.equal(layer(x)[0], x)
    cell.scale = 0.0
    assert torch.equal(layer(x)[0], x)


def test_a_captured_tensor_of_a_double_cell_keeps_its_gradient() -> None:
    torch.manual_seed(0)
    free = torch.randn(H, H, dtype=torch.float64, requires_grad=True)
    cell = Step(lambda c, x, h, m: torch.tanh(x + h @ c.u + h @ c.free[0]), 1).double()
    cell.free = (free,)
    layer = Recurrent(cell, recurrent_dropout=0.5)
    layer(Ragged.from_list([torch.randn(3, H, dtype=torch.float64)]))[0].values.sum().backward()
    assert free.grad is not None and bool(free.grad.any())
