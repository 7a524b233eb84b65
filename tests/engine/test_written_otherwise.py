"""Steps as public repositories write them: what changes gradients past autograd, torch.jit and torch.compile, which the
engine cannot see through, and named states, which it keeps."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, explain_path
from unspool.errors import SlowPathWarning
from unspool.nn import Recurrent

F, H = 3, 4


class Plain(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.x, self.h, self.act = nn.Linear(F, H), nn.Linear(H, H), act or torch.tanh

    def initial_state(self, batch_size: int) -> Any:
        return torch.zeros(batch_size, H)

    def forward(self, x: Tensor, h: Any) -> Any:
        return self.act(self.x(x) + self.h(h))


def batch() -> Ragged:
    torch.manual_seed(0)
    return Ragged.from_list([torch.randn(n, F) for n in (4, 1, 3)])


def found(cell: nn.Module, engine: str) -> list[Tensor]:
    x = batch()
    values = x.values.requires_grad_()
    output = Recurrent(cell, engine=engine)(x)[0].values
    return [output, *torch.autograd.grad(output.square().sum(), [values, *cell.parameters()])]


class Clipped(Plain):
    """Gradients through the state clipped, as in Graves 2013."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        new = super().forward(x, h)
        new.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
        return new


class ClippedInput(Plain):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        if h.requires_grad:
            h.register_hook(lambda gradient: gradient * 0.5)
        return super().forward(x, h)


class NodeHook(Plain):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        new = super().forward(x, h)
        if new.grad_fn is not None:
            new.grad_fn.register_prehook(lambda gradients: tuple(0.5 * g for g in gradients))
        return new


class PastAutograd(Plain):
    """Clipped where autograd does not see it: the gradient passes as if nothing were."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        new = super().forward(x, h)
        new.data.clamp_(-0.2, 0.2)
        return new


class StoppedInPlace(Plain):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return super().forward(x, h) + (0.5 * h).detach_()


class CopiedAside(Plain):
    """Written into, and detached: a copy of its own."""

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        new = super().forward(x, h)
        aside = new.detach().clone()
        aside[:, 0].mul_(2.0)
        return new + aside.relu_()


class Scripted(Plain):
    """Another class: each warns once."""


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Clipped, r"hooks on a gradient with 'register_hook'.*test_written_otherwise.py, line 50\)"),
        (ClippedInput, "reads 'requires_grad' of a tensor"),
        (NodeHook, "reads 'grad_fn' of a tensor"),
        (PastAutograd, "an operation in place on what '.data' or 'detach' shares"),
        (StoppedInPlace, "stops a gradient in place with 'detach_'"),
        (lambda: Plain(torch.jit.script(scripted)), "reads self.act, which torch.jit runs unseen"),
        (
            lambda: Scripted(torch.jit.script(nn.Sequential(nn.Linear(H, H), nn.Tanh()))),
            "a module of torch.jit",
        ),
    ],
)
def test_what_the_engine_would_pass_by_runs_in_the_plain_loop(
    make: Callable[[], nn.Module], reason: str
) -> None:
    cell = make()
    with pytest.warns(SlowPathWarning, match=reason):
        ours = found(cell, "auto")
    for _ in range(3):  # torch.jit compiles a function anew once it has seen its shapes
        ours = found(cell, "auto")
    assert explain_path(Recurrent(cell), batch()).startswith("eager: ")
    for one, other in zip(ours, found(cell, "eager"), strict=True):
        assert torch.equal(one, other)


def test_what_is_copied_first_stays_native() -> None:
    cell = CopiedAside()
    assert explain_path(Recurrent(cell), batch()) == "native"
    for one, other in zip(found(cell, "auto"), found(cell, "eager"), strict=True):
        torch.testing.assert_close(one, other)


def test_a_compiled_cell_is_named() -> None:
    cell = torch.compile(Plain(), backend="eager")
    assert "a module that torch.compile compiled (give the cell" in explain_path(Recurrent(cell), batch())


def scripted(x: Tensor) -> Tensor:
    return torch.tanh(x) * 0.5


Pair = namedtuple("Pair", "h c")


class Deep(NamedTuple):
    out: Tensor
    pair: Pair


class Named(Plain):
    def initial_state(self, batch_size: int) -> Deep:
        zeros = torch.zeros(batch_size, H)
        return Deep(zeros, Pair(zeros, c=zeros))

    def forward(self, x: Tensor, state: Deep) -> Deep:
        c = 0.5 * state.pair.c + super().forward(x, state.pair.h)
        return Deep(out=torch.tanh(c), pair=state.pair._replace(h=c.sigmoid(), c=c))


class Unnamed(Named):
    def initial_state(self, batch_size: int) -> Any:
        zeros = torch.zeros(batch_size, H)
        return zeros, (zeros, zeros)

    def forward(self, x: Tensor, state: Any) -> Any:
        out, (h, c) = super().forward(x, Deep(state[0], Pair(*state[1])))
        return out, (h, c)


def test_named_states_keep_their_names() -> None:
    cell, other, x = Named(), Unnamed(), batch()
    other.load_state_dict(cell.state_dict())
    for engine in ("auto", "eager"):
        for one, expected in zip(found(cell, engine), found(other, engine), strict=True):
            assert torch.equal(one, expected)
    layer = Recurrent(cell)
    assert explain_path(layer, x) == "native"
    output, state = layer(x)
    again, _ = layer(x, state)
    assert torch.equal(again.values, layer(x, (state[0], tuple(state[1])))[0].values)
    first = torch.stack([row[0] for row in x.to_list()])
    padded, _ = layer(torch.randn(2, 3, F))
    for given in (
        state,
        layer.step(first),
        layer.freeze()(x)[1],
        layer.freeze().step(first),
        layer(torch.randn(3, F))[1],
        Recurrent(Named(), bidirectional=True)(x)[1][1],
        Recurrent(Named(), zoneout=0.1, recurrent_dropout=0.1)(x)[1],
        Recurrent(Named(), initial_state="learned")(x)[1],
    ):
        assert type(given) is Deep and type(given.pair) is Pair
    torch.testing.assert_close(layer.step(first).out, torch.stack([row[0] for row in output.to_list()]))
    assert padded.shape == (2, 3, H)
