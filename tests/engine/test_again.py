"""Second derivatives of native calls: gradient penalties and products with the Hessian, against torch in float64."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import unspool
from engine.user_cells import CELLS
from unspool import Ragged, cells
from unspool.errors import EngineError
from unspool.nn import Recurrent, Stack
from unspool.state import flatten

F, H, B, T = 3, 5, 4, 6


def penalty(layer: Any, x: Tensor, state: Any) -> list[Tensor]:
    """A gradient penalty (Gulrajani et al. 2017) beside a loss, and the gradients of both together."""
    x = x.clone().requires_grad_()
    leaves = [leaf.clone().requires_grad_() for leaf in flatten(state)]
    output, final = layer(x, tuple(leaves) if isinstance(state, tuple) else leaves[0])
    score = output.sin().sum() + sum(part.square().sum() for part in flatten(final))
    grads = torch.autograd.grad(score, [x, *leaves], create_graph=True)
    loss = score + sum((g.norm() - 1).square() for g in grads)
    loss.backward()
    return [*grads, x.grad, *(leaf.grad for leaf in leaves), *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str
)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_gradient_penalty_of_the_drop_ins(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    ours = getattr(unspool.nn, kind)(F, H, **options)
    theirs = getattr(nn, kind)(F, H, **options).double()
    theirs.load_state_dict(ours.state_dict())
    x, rows = torch.randn(T, B, F), 4 if options else 1
    state: Any = torch.randn(rows, T if options else B, H)
    state = (state, state.flip(0) * 0.5) if kind == "LSTM" else state
    assert unspool.explain_path(ours, x) == "native"
    exact = tuple(s.double() for s in state) if kind == "LSTM" else state.double()
    for got, expected in zip(penalty(ours, x, state), penalty(theirs, x.double(), exact), strict=True):
        torch.testing.assert_close(got, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [*cells.registry.values(), *CELLS], ids=lambda make: make.__name__)
def test_every_cell_over_ragged_batches_twice(make: Any) -> None:
    """Second derivatives by the plain loop over the cell itself."""
    torch.manual_seed(0)
    layer = Recurrent(make(4, 5), bidirectional=True)
    lengths = (3, 1, 0, 6)
    values, offsets = torch.randn(sum(lengths), 4), torch.tensor([0, 3, 4, 4, 10])
    found = []
    for engine in ("auto", "eager"):
        twin = copy.deepcopy(layer)
        twin.engine = engine
        x = values.clone().requires_grad_()
        output, _ = twin(Ragged(x, offsets))
        parameters = [p for p in twin.parameters() if p.requires_grad]
        loss = output.values.sin().sum()
        first = torch.autograd.grad(loss, [x, *parameters], create_graph=True, allow_unused=True)
        total = sum(g.square().sum() for g in first if g is not None and g.requires_grad)
        second = torch.autograd.grad(total, [x, *parameters], allow_unused=True)
        found.append(
            [torch.zeros_like(t) if g is None else g for t, g in zip([x, *parameters] * 2, [*first, *second])]
        )
    for got, expected in zip(*found, strict=True):
        scale = expected.detach().abs().max() + 1.0
        torch.testing.assert_close(got / scale, expected / scale, rtol=1e-3, atol=1e-4)


def test_what_one_input_is_made_of_is_counted_once() -> None:
    """The state and the input come from one tensor; and rows are read through an index."""
    torch.manual_seed(0)
    found = []
    start = Stack("gru", F, H)
    embedding = nn.Embedding(7, F)
    ids = Ragged(torch.tensor([3, 3, 0, 1, 6, 3, 5, 2, 5]), [0, 6, 6, 9])
    for dtype, engine in ((torch.float32, "auto"), (torch.float64, "eager")):
        stack, table = copy.deepcopy(start).to(dtype), copy.deepcopy(embedding).to(dtype)
        for layer in stack.layers:
            layer.engine = engine
        state = [(table.weight[:3].repeat(1, 2)[:, :H],)]
        output, _ = stack.embedded(ids, table, state)
        (first,) = torch.autograd.grad(output.values.sin().sum(), table.weight, create_graph=True)
        first.square().sum().backward()
        found.append([first, table.weight.grad, *(p.grad for p in stack.parameters())])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected.float(), rtol=1e-4, atol=1e-4)


def test_a_state_made_of_the_input_is_no_second_way_to_it() -> None:
    """The input's own gradient leaves out what flows through the state; autograd adds that."""
    torch.manual_seed(0)
    start, values, found = Recurrent(cells.GRUCell(F, H)), torch.randn(7, F), []
    for engine in ("auto", "eager"):
        layer = copy.deepcopy(start)
        layer.engine = engine
        x = values.clone().requires_grad_()
        output, _ = layer(Ragged(x, torch.tensor([0, 3, 7])), x[:2].repeat(1, 2)[:, :H].tanh())
        (first,) = torch.autograd.grad(output.values.sin().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        found.append((first, second))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_noise_is_the_same_in_both_derivatives() -> None:
    torch.manual_seed(0)
    start = Recurrent(cells.LSTMCell(F, H), recurrent_dropout=0.4, weight_dropout=0.3, zoneout=0.2)
    x, found = torch.randn(B, T, F), []
    for engine in ("auto", "eager"):
        layer = copy.deepcopy(start)
        layer.engine = engine
        torch.manual_seed(3)
        found.append(penalty(layer, x, start.initial_state(B)))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_only_the_gradients_that_are_asked_for() -> None:
    torch.manual_seed(0)
    layer = unspool.nn.GRU(F, H)
    layer.weight_hh_l0.requires_grad_(False)
    output, _ = layer(torch.randn(T, B, F))
    (first,) = torch.autograd.grad(output.sin().sum(), layer.weight_ih_l0, create_graph=True)
    first.square().sum().backward()
    assert layer.weight_hh_l0.grad is None and layer.weight_ih_l0.grad is not None
    _, final = layer(torch.randn(T, B, F))
    final.sum().backward(create_graph=True)


def test_the_native_engine_alone_says_that_it_has_one_derivative() -> None:
    layer, x = Recurrent(cells.GRUCell(F, H), engine="native"), torch.randn(B, T, F, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(EngineError, match=r"first derivatives only.*engine='auto'"):
        first.sum().backward()


class Looking(TorchDispatchMode):
    """As counters of operations do."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch asks: else it imports its compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def as_it_is(layer: nn.Module) -> nn.Module:
    return layer


def exported(layer: nn.Module) -> nn.Module:
    return torch.export.export(layer, (torch.randn(T, B, F, requires_grad=True),)).module()


@pytest.mark.parametrize(
    ("around", "made"),
    [
        (Looking, as_it_is),
        (contextlib.nullcontext, exported),
    ],
    ids=["dispatch mode", "exported"],
)
def test_one_operator_is_differentiated_twice_and_many_times_at_once(around: Any, made: Any) -> None:
    """Where a call is one operator of torch's (a dispatch mode, an exported program), its gradient was a constant."""
    torch.manual_seed(0)
    ours, theirs = unspool.nn.GRU(F, H), nn.GRU(F, H)
    theirs.load_state_dict(ours.state_dict())
    found = []
    for layer in (made(ours), theirs):
        x = torch.linspace(-1, 1, T * B * F).view(T, B, F).requires_grad_()
        with around():
            output = layer(x)[0]
            (grad,) = torch.autograd.grad(output.sin().sum(), x, create_graph=True)
            second = torch.autograd.grad(grad.square().sum(), [x, *layer.parameters()])
            many = torch.stack([torch.ones_like(output), output.detach()])
            found.append([*second, *torch.autograd.grad(layer(x)[0], x, many, is_grads_batched=True)])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
