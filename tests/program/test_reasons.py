"""Why a step has no program: the reason names what the user wrote, and the line of it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unspool import explain_path
from unspool.engine import programs
from unspool.nn import Recurrent

from .scaled_cells import F_IN, H, check, made


def overwritten(c: Any, h: Tensor) -> Tensor:
    made_first = torch.empty_like(h)
    made_first.zero_()
    made_first[:, 1:] = h[:, 1:]
    return made_first


compiled = torch.compile(torch.tanh, backend="eager")

REASONS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "gumbel softmax": (lambda c, h: F.gumbel_softmax(h, dim=-1), "random numbers ('aten.exponential_')"),
    "cauchy": (lambda c, h: h + torch.empty(H).cauchy_(), "random numbers ('aten.cauchy_')"),
    "no numbers": (lambda c, h: h + torch.empty(H), "uninitialised memory"),
    "no numbers, alike": (lambda c, h: h + torch.empty_like(h), "uninitialised memory"),
    "gradient": (
        lambda c, h: torch.autograd.grad(h.tanh(), h, torch.ones_like(h), create_graph=True)[0],
        "in a gradient that the step itself takes",
    ),
    "transform": (lambda c, h: torch.func.jvp(torch.tanh, (h,), (h,))[1], "inside a transform of torch.func"),
    "buffer": (lambda c, h: h * c.n.add_(1), "in-place operation 'aten.add_' on the cell's own 'n'"),
    "of weights": (lambda c, h: h * (c.n * 2).add_(1), "on what is computed from the weights alone"),
    "batch": (lambda c, h: h - h.mean(0), "a tensor of shape (batch, 5): over the batch"),
    "text": (lambda c, h: h * len(f"{h}"), "reads a tensor's numbers as text"),
    "compiled": (lambda c, h: compiled(h), "reads the global 'compiled', which torch.compile compiled"),
}


def stepping(step: Callable[[Any, Tensor], Any]) -> nn.Module:
    cell = made(lambda c: 1.0, lambda c: c.register_buffer("n", torch.ones(H)))
    cell.forward = lambda x, h: step(cell, torch.tanh(cell.a(x) + cell.b(h)))
    return cell


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_names_what_is_in_the_way(name: str) -> None:
    step, expected = REASONS[name]
    cell = stepping(step)
    reason = programs.program_for(cell, F_IN, H)
    assert isinstance(reason, programs.Reason) and expected in reason, reason
    if name != "compiled":
        assert reason.where is not None and reason.where[0] == __file__


@pytest.mark.parametrize(
    "step",
    [
        overwritten,
        lambda c, h: torch.utils.checkpoint.checkpoint(torch.tanh, h, use_reentrant=False),
    ],
    ids=["overwritten", "checkpoint"],
)
def test_what_is_in_nobodys_way_stays_native(step: Callable[[Any, Tensor], Any]) -> None:
    check(stepping(step))


def test_slots_that_a_class_computes_are_no_state() -> None:
    """As mpmath's constants and sympy's numbers have them."""

    class Slotted:
        __slots__ = ("_half",)

    class Computing(Slotted):
        _half = property(lambda self: (object(),))  # another one each time, and none to set

    cell = made(lambda c: 1.0 + len(vars(sys.modules["computing"])["it"]._half))
    module = types.ModuleType("computing")
    module.it = Computing()  # type: ignore[attr-defined]
    cell.held = module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "computing", module)
        path = explain_path(Recurrent(cell), torch.zeros(2, 1, F_IN))
    assert path == "native", path
