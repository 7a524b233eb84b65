"""What is traced, what is refused and why, and that a program never outlives what it was traced from."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine.compare import ragged
from engine.user_cells import GRU2014, Constants, Tied, UserCell
from torch import Tensor, nn

from unspool import Ragged, cells, explain_path
from unspool.errors import EngineError
from unspool.nn import GRU, Recurrent

F_IN, H = 4, 5


class Free(UserCell):
    """A cell whose step is given: `step(cell, x, h)`."""

    def __init__(self, step: Callable[..., Tensor], **attributes: Any) -> None:
        super().__init__()
        self.sizes = H
        self.step = step
        self.a, self.b = nn.Linear(F_IN, H), nn.Linear(H, H)
        self.v = nn.Parameter(torch.linspace(-1, 1, H))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.step(self, x, h)


def base(c: Free, x: Tensor, h: Tensor) -> Tensor:
    return torch.tanh(c.a(x) + c.b(h))


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


def without_gradient(c: Free, x: Tensor, h: Tensor) -> Tensor:
    with torch.no_grad():
        gate = torch.sigmoid(c.a(x))
    return gate * base(c, x, h)


REFUSED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "branch": (lambda c, x, h: base(c, x, h) if x[0, 0] > 0 else h, "a Python branch or number|axes"),
    "random": (lambda c, x, h: base(c, x, h) + torch.rand(H), r"random numbers \('aten\.rand'\)"),
    "random like": (
        lambda c, x, h: base(c, x, h) * torch.randn_like(h),
        r"random numbers \('aten\.randn_like'\)",
    ),
    "dropout": (lambda c, x, h: F.dropout(base(c, x, h), 0.5), "random numbers|native_dropout|bernoulli"),
    "batch size": (lambda c, x, h: base(c, x, h) / x.shape[0], "a step that depends on the batch size"),
    "batch sum": (lambda c, x, h: base(c, x, h) + h.sum(0), r"an operation over axes \[0\]"),
    "total": (lambda c, x, h: base(c, x, h) + h.mean(), "over the batch|axes"),
    "product": (
        lambda c, x, h: base(c, x, h) @ (h.t() @ h),
        r"aten\.t'|a product of two values of the batch",
    ),
    "first row": (lambda c, x, h: base(c, x, h) * h[:1], r"axes \[0\]|shape \(1, 5\)"),
    "cummax": (lambda c, x, h: base(c, x, h).cummax(1).values, r"the operation 'aten\.cummax'"),
    "empty": (lambda c, x, h: base(c, x, h) + 0 * torch.empty_like(h), "uninitialised memory"),
    "new empty": (lambda c, x, h: base(c, x, h) + 0 * h.new_empty(h.shape), "uninitialised memory"),
    "variance of one": (
        lambda c, x, h: base(c, x, h) * x[:, :1].var(1, keepdim=True),
        "a variance over too few",
    ),
    "wider numbers": (lambda c, x, h: base(c, x, h).double().float(), "a change of type from torch.float32"),
    "constant state": (
        lambda c, x, h: c.v.expand(len(x), H) * 1.0,
        "does not depend on the input or the state",
    ),
    "width": (lambda c, x, h: base(c, x, h)[:, :3], r"a new state of widths \[3\] from one of widths \[5\]"),
    "other precision": (lambda c, x, h: base(c, x, h).bfloat16().float(), "bfloat16"),
}


@pytest.mark.filterwarnings("ignore:var")
@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_names_what_is_missing(name: str) -> None:
    step, reason = REFUSED[name]
    cell, x = Free(step), ragged(F_IN, (2, 1))
    path = explain_path(Recurrent(cell), x)
    assert path.startswith("eager: ")
    with pytest.raises(EngineError, match=reason):
        Recurrent(cell, engine="native")(x)


def test_division_by_zero_is_torchs() -> None:
    cell = Free(lambda c, x, h: base(c, x, h) / 0.0)
    x = ragged(F_IN, (1, 1))
    torch.testing.assert_close(both(cell, x)[0], both(cell, x)[1], equal_nan=True)


def both(cell: nn.Module, x: Ragged | None = None) -> list[Tensor]:
    """Outputs of "auto", which must be the native engine or say why not, and of the plain loop."""
    x = ragged(F_IN, (3, 1, 0, 5)) if x is None else x
    with torch.no_grad():
        return [Recurrent(cell, engine=engine)(x)[0].values for engine in ("auto", "eager")]


def check_same(cell: nn.Module, native: bool = True) -> None:
    fast, plain = both(cell)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)
    assert (explain_path(Recurrent(cell), ragged(F_IN, (2,))) == "native") is native


def scaled(name: str) -> Callable[..., Tensor]:
    return lambda c, x, h: base(c, x, h) * getattr(c, name)


class TestChanges:
    """A cell that changes after it was traced is traced again."""

    def test_option(self) -> None:
        cell = cells.RNNCell(F_IN, H)
        for nonlinearity in ("tanh", "relu", "tanh"):
            cell.nonlinearity = nonlinearity
            check_same(cell)
        assert both(cell)[0].min() < 0

    def test_training_mode(self) -> None:
        cell = Free(lambda c, x, h: F.dropout(base(c, x, h), 0.5, c.training)).eval()
        check_same(cell)
        cell.train()
        assert explain_path(Recurrent(cell), ragged(F_IN, (2,))) != "native"
        cell.eval()
        check_same(cell)

    @pytest.mark.parametrize("name", ["scale", "_scale"])
    def test_number(self, name: str) -> None:
        class Scaled(UserCell):
            def __init__(self, value: float) -> None:
                super().__init__()
                self.sizes = H
                self.a, self.b = nn.Linear(F_IN, H), nn.Linear(H, H)
                setattr(self, name, value)

            def forward(self, x: Tensor, h: Tensor) -> Tensor:
                return torch.tanh(self.a(x) + self.b(h)) * getattr(self, name)

        first, second = Scaled(1.0), Scaled(0.1)
        check_same(first)
        check_same(second)
        setattr(first, name, 3.0)
        check_same(first)

    def test_list_that_is_written_into(self) -> None:
        cell = Free(
            lambda c, x, h: base(c, x, h) * c.scales[0] * c.more["k"][1], scales=[0.5], more={"k": (1, 2.0)}
        )
        check_same(cell)
        cell.scales[0] = 2.0
        check_same(cell)
        cell.more["k"] = (1, 0.25)
        check_same(cell)

    def test_function(self) -> None:
        cell = Free(base)
        x = torch.ones(1, 1, F_IN)
        with torch.no_grad():
            unscaled = Recurrent(cell)(x)[0]
            for k in range(60):  # the id of a function that is gone is soon used again
                cell.step = (lambda factor: lambda c, x, h: base(c, x, h) * factor)(float(k))
                torch.testing.assert_close(Recurrent(cell, engine="native")(x)[0], unscaled * k)

    def test_tensor_attribute(self) -> None:
        cell = Free(scaled("mask"), mask=torch.linspace(0, 1, H))
        check_same(cell)
        cell.mask[2] = 5.0
        check_same(cell)
        cell.mask = torch.linspace(3, 1, H)
        check_same(cell)

    def test_weights_tied_and_untied(self) -> None:
        tied = Tied(F_IN, H)
        check_same(tied)
        untied = Tied(F_IN, H)
        untied.second.weight = nn.Parameter(torch.randn(H, H))
        check_same(untied)
        tied.second.weight = nn.Parameter(torch.randn(H, H))
        check_same(tied)

    def test_hooks(self) -> None:
        cell, calls = Free(base), []
        check_same(cell)
        for register in (cell.a.register_forward_hook, cell.a.register_full_backward_hook):
            handle = register(lambda *_: calls.append(1))
            assert "hooks" in explain_path(Recurrent(cell), ragged(F_IN, (2,)))
            handle.remove()
            check_same(cell)

    def test_parameters(self) -> None:
        layer = Recurrent(cells.GRUCell(F_IN, H), engine="native")
        plain = Recurrent(layer.cell, engine="eager")
        x = ragged(F_IN, (3, 2))
        saved = copy.deepcopy(layer.state_dict())
        before = layer(x)[0].values.detach()

        def changed() -> bool:
            new = layer(x)[0].values
            torch.testing.assert_close(new, plain(x)[0].values, rtol=1e-5, atol=1e-6)
            return not torch.equal(new, before)

        layer.cell.weight_hh.data.mul_(0.5)
        assert changed()
        layer.load_state_dict(saved)
        assert not changed()
        with torch.no_grad():
            layer.cell.bias_ih.add_(1.0)
        assert changed()
        layer.load_state_dict(saved)
        layer.cell.weight_ih = nn.Parameter(torch.randn(3 * H, F_IN))
        assert changed()
        layer(x)[0].values.sum().backward()
        torch.optim.SGD(layer.parameters(), lr=0.1).step()
        assert changed()


@pytest.mark.parametrize("guard", [torch.inference_mode, torch.no_grad])
def test_a_first_call_without_gradients(guard: Callable[[], Any]) -> None:
    class Fresh(GRU2014):
        pass

    cell, x = Fresh(F_IN, H), ragged(F_IN, (2, 3))
    with guard():
        output, _ = Recurrent(cell, engine="native")(x)
        assert not output.values.requires_grad
    trained, _ = Recurrent(cell, engine="native")(x)
    assert torch.equal(trained.values, output.values)
    trained.values.sum().backward()
    assert cell.reset.weight.grad is not None


def test_a_first_call_under_autocast_does_not_stay() -> None:
    class Fresh(GRU2014):
        pass

    cell, x = Fresh(F_IN, H), ragged(F_IN, (2, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        explain_path(Recurrent(cell), x)
    assert explain_path(Recurrent(cell), x) == "native"
    check_same(cell)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_plain_loop(dtype: torch.dtype) -> None:
    layer = Recurrent(cells.LSTMCell(F_IN, H)).to(dtype)
    x = ragged(F_IN, (2, 1))
    x = x.with_values(x.values.to(dtype))
    assert explain_path(layer, x).startswith("eager: the native engine computes in torch.float32")
    assert layer(x)[0].values.dtype == dtype


class TestSources:
    """Numbers that are not float32 parameters: the engine converts them."""

    @pytest.mark.parametrize(
        "step",
        [
            lambda c, x, h: base(c, x, h) * torch.arange(1, H + 1),
            lambda c, x, h: torch.where(c.v > 0, base(c, x, h), h),
            lambda c, x, h: base(c, x, h) * (c.v > 0),
            lambda c, x, h: base(c, x, h) * c.v[[4, 3, 2, 1, 0]] + c.v[2],
            lambda c, x, h: (
                base(c, x, h) + x @ c.a.weight.t().tril() + h @ torch.cat([c.b.weight[:2], c.b.weight[2:]])
            ),
            lambda c, x, h: torch.where(torch.tensor([True, False, True, False, True]), base(c, x, h), h),
        ],
        ids=["arange", "where", "mask", "index", "matrices", "new mask"],
    )
    def test_computed(self, step: Callable[..., Tensor]) -> None:
        check_same(Free(step))

    def test_captured(self) -> None:
        check_same(Free(scaled("mask"), mask=torch.tensor([1, 0, 2, 0, 3])))
        check_same(Free(lambda c, x, h: torch.where(c.mask, base(c, x, h), h), mask=torch.arange(H) > 2))

    def test_parametrized(self) -> None:
        cell = Free(base)
        nn.utils.parametrizations.weight_norm(cell.b)
        check_same(cell)


def test_copies_share_nothing() -> None:
    layer = Recurrent(Constants(F_IN, H), engine="native")
    x = ragged(F_IN, (2, 1))
    before = layer(x)[0].values
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x)[0].values, before)
    with torch.no_grad():
        twin.cell.mask.zero_()
        twin.cell.x.weight.zero_()
    assert torch.equal(layer(x)[0].values, before)
    assert not torch.equal(twin(x)[0].values, before)


def test_layers_of_one_template_do_not_mix() -> None:
    torch.manual_seed(0)
    first, second = GRU(F_IN, H), GRU(F_IN, H)
    x = torch.randn(3, 2, F_IN)
    one, two = first(x)[0], second(x)[0]
    assert not torch.equal(one, two)
    assert torch.equal(first(x)[0], one)


def test_no_warning_is_printed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = Recurrent(GRU2014(F_IN, H), bidirectional=True)
        layer(ragged(F_IN, (2, 0, 1)))[0].values.sum().backward()
