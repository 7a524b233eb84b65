"""unspool.nn's cells are torch.nn's: results, gradients, state_dict, arguments, batched or not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import nn as ours
from unspool.errors import InputError
from unspool.state import flatten

F, H, B = 5, 21, 3
KINDS: list[Any] = [
    ("LSTMCell", {}),
    ("LSTMCell", {"bias": False}),
    ("GRUCell", {}),
    ("GRUCell", {"bias": False}),
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu", "bias": False}),
]


def pair(name: str, options: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs = getattr(nn, name)(F, H, **options, **more)
    mine = getattr(ours, name)(F, H, **options, **more)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def states(name: str, *shape: int) -> Any:
    parts = tuple(torch.randn(*shape, H) for _ in range(2))
    return parts if name == "LSTMCell" else parts[0]


def assert_same(mine: Any, theirs: Any) -> None:
    torch.testing.assert_close(flatten(mine), flatten(theirs), rtol=1e-5, atol=1e-6)
    assert type(mine) is type(theirs)


@pytest.mark.parametrize("name, options", KINDS)
def test_without_gradients(name: str, options: dict[str, Any]) -> None:
    mine, theirs = pair(name, options)
    assert mine.explain_path(torch.randn(B, F)) == "native"
    with torch.no_grad():
        for shape in ((B,), (), (1,)):
            x, state = torch.randn(*shape, F), states(name, *shape)
            assert_same(mine(x, state), theirs(x, state))
            assert_same(mine(x), theirs(x))


@pytest.mark.parametrize("name, options", KINDS)
def test_gradients(name: str, options: dict[str, Any]) -> None:
    mine, theirs = pair(name, options)
    x, state = torch.randn(4, B, F), states(name, B)
    found = []
    for cell in (mine, theirs):
        given, new = x.clone().requires_grad_(), state
        for row in given:
            new = cell(row, new)
        sum(part.sin().sum() for part in flatten(new)).backward()
        found.append([given.grad, *(p.grad for p in cell.parameters())])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name, options", KINDS)
def test_weights_that_change_are_seen(name: str, options: dict[str, Any]) -> None:
    mine, theirs = pair(name, options)
    x = torch.randn(B, F)
    with torch.no_grad():
        mine(x)
        for cell in (mine, theirs):
            cell.weight_hh.data.mul_(2.0)
            cell.weight_ih = nn.Parameter(
                torch.linspace(-1, 1, cell.weight_ih.numel()).view_as(cell.weight_ih)
            )
        assert_same(mine(x), theirs(x))
        twin = pickle.loads(pickle.dumps(copy.deepcopy(mine)))
        mine.weight_ih.zero_()
        assert_same(twin(x), theirs(x))


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_other_precisions(name: str) -> None:
    mine, theirs = pair(name, {}, dtype=torch.float64)
    x = torch.randn(B, F, dtype=torch.float64)
    with torch.no_grad():
        assert_same(mine(x), theirs(x))
    assert mine.explain_path(x).startswith("eager: ")


def test_a_users_cell_around_one_is_native() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = ours.LSTMCell(F, H)

        def initial_state(self, batch_size: int) -> Any:
            return self.cell.initial_state(batch_size)

        def forward(self, x: Tensor, state: Any) -> Any:
            return self.cell(x, state)

    for cell in (Wrapped(), ours.GRUCell(F, H)):
        layer = ours.Recurrent(cell)
        x = torch.randn(B, 4, F)
        assert layer.explain_path(x) == "native"
        plain = ours.Recurrent(cell, engine="eager")
        torch.testing.assert_close(layer(x)[0], plain(x)[0], rtol=1e-5, atol=1e-6)


def _states(name: str, *shape: int) -> Any:
    return (torch.zeros(shape), torch.zeros(shape)) if name == "LSTMCell" else torch.zeros(shape)


WRONG: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "features": lambda name: (torch.randn(B, F + 1),),
    "axes": lambda name: (torch.randn(2, B, F),),
    "no axes": lambda name: (torch.tensor(1.0),),
    "rows of the state": lambda name: (torch.randn(B, F), _states(name, B + 1, H)),
    "width of the state": lambda name: (torch.randn(B, F), _states(name, B, H + 1)),
    "axes of the state": lambda name: (torch.randn(B, F), _states(name, 1, B, H)),
    "no state": lambda name: (torch.randn(B, F), 3),
    "no tensor": lambda name: ([1.0],),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_wrong_calls_are_refused_as_torch_does(name: str, what: str) -> None:
    """Of the class of torch's error, and beginning with its words where it has any for this."""
    arguments = WRONG[what](name)
    with pytest.raises((RuntimeError, ValueError, TypeError, AttributeError)) as torchs:
        getattr(nn, name)(F, H)(*arguments)
    for grad in (True, False):
        with torch.set_grad_enabled(grad), pytest.raises(InputError) as got:
            getattr(ours, name)(F, H)(*arguments)
        if isinstance(torchs.value, (RuntimeError, ValueError)) and "axes of" not in what:
            assert isinstance(got.value, type(torchs.value))
            assert str(got.value).startswith(str(torchs.value).partition(" instead")[0])


def test_a_state_of_one_part_is_no_pair() -> None:
    with pytest.raises(InputError, match=r"pair of tensors \(h, c\)"):
        ours.LSTMCell(F, H)(torch.randn(B, F), (torch.randn(B, H),))
