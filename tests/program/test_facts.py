"""What a step asks of a tensor beside its numbers is not frozen as traced: every name that a tensor answers to."""

from __future__ import annotations

import gc
import operator
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine.compare import ragged
from torch import Tensor, nn

from unspool import explain_path
from unspool.engine import programs
from unspool.errors import InputError
from unspool.nn import Recurrent

from .scaled_cells import F_IN, Base, H, check, made

PROPERTIES = [n for n in dir(nn.Parameter) if not callable(getattr(nn.Parameter, n, None))]
METHODS = [n for n in dir(Tensor) if callable(getattr(Tensor, n)) and n not in PROPERTIES]
# What is no question, or has an answer that names an object of this process alone.
LEFT_OUT = {
    "__reduce_ex__",
    "__reduce__",
    "__init__",
    "__dir__",
    "__del__",
    "__str__",
    "__format__",
    "backward",
    "__iter__",
}
# The answers that stay what they are, or are compared at every call: the step stays native.
SIZES = (
    "shape dtype device ndim is_cuda is_cpu layout itemsize size dim numel nelement __len__ is_floating_point"
)


def read(name: str) -> Callable[[Tensor], Any]:
    """Asks a tensor; a method that takes nothing is called."""
    if name in METHODS:
        return lambda tensor: getattr(tensor, name)()
    return operator.attrgetter(name)


def answers(name: str) -> bool:
    """Whether a tensor answers with something that is no tensor."""
    try:
        found = read(name)(nn.Parameter(torch.ones(H, H)))
    except Exception:
        return False
    parts = found if isinstance(found, (tuple, list)) and found else [found]
    return found is not NotImplemented and not any(isinstance(part, Tensor) for part in parts)


NAMES = [n for n in (*PROPERTIES, *METHODS) if n not in LEFT_OUT and (n == "grad" or answers(n))]


def as_number(found: Any) -> float:
    if isinstance(found, Tensor):
        return 2.0
    return 1 + zlib.crc32(repr(found).encode()) % 97 / 97


def scaled_by(name: str, tensor: Tensor) -> Base:
    ask = read(name)
    cell = made(lambda c: as_number(ask(c.w)))
    (cell.register_parameter if isinstance(tensor, nn.Parameter) else cell.register_buffer)("w", tensor)
    return cell


def of_a_parameter(w: Any) -> None:
    w.grad = torch.ones(H, H)
    with torch.no_grad():
        w.add_(1)
    w.register_hook(lambda gradient: gradient)
    w.register_post_accumulate_grad_hook(lambda parameter: None)


def of_its_memory(w: Any) -> None:
    w.grad = None
    if w.is_leaf:
        w.requires_grad = False
    w.data = torch.ones(2 * H, H + 1)[1 : H + 1, 1:].t()
    w.data = w.data._neg_view()


def of_its_size(w: Any) -> None:
    w.data = torch.ones(3, H, 2)


def of_a_buffer(w: Any) -> None:
    w.mul_(torch.ones(1, requires_grad=True))
    w.retain_grad()
    w.share_memory_()


CHANGES = [of_a_parameter, of_its_memory, of_its_size]


def outcome(layer: Recurrent) -> Tensor:
    """What comes out; NaN where the tensor, as it is, does not answer."""
    try:
        return layer(torch.full((2, 1, F_IN), 0.3))[0].detach()
    except InputError:
        return torch.tensor(torch.nan)


def same(layers: list[Recurrent]) -> bool:
    return torch.allclose(*map(outcome, layers), rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.filterwarnings("ignore")
def test_what_a_tensor_answers_is_not_frozen() -> None:
    assert len(NAMES) > 80 and {"grad", "is_leaf", "stride", "_backward_hooks", "output_nr"} < set(NAMES)
    stale, native = [], []
    for name in NAMES:
        for tensor, changes in (
            (nn.Parameter(torch.ones(H, H)), CHANGES),
            (torch.ones(H, H), [of_a_buffer, of_its_memory]),
        ):
            cell = scaled_by(name, tensor)
            layers = [Recurrent(cell), Recurrent(cell, engine="eager")]
            if explain_path(layers[0], torch.zeros(2, 1, F_IN)) != "native":
                continue  # it is asked at every step
            native.append(name)
            if not same(layers):
                stale.append(f"{name}, at first")
            for change in changes:
                change(tensor)
                if not same(layers):
                    stale.append(f"{name}, {change.__name__}")
    assert not stale, "\n".join(stale)
    assert set(SIZES.split()) <= set(native)


def put(tensor: Any, name: str, value: float) -> None:
    setattr(tensor, name, value)


def captured() -> Base:
    held = torch.ones(H)
    cell = made(lambda c: held.flag if hasattr(held, "flag") else 1.0)
    cell.__dict__["held"] = held
    return cell


ON_TENSORS: dict[str, tuple[Callable[[], Any], Callable[[Any], Tensor]]] = {
    "parameter": (lambda: made(lambda c: getattr(c.a.weight, "flag", 1.0)), lambda c: c.a.weight),
    "parameter, by hasattr": (
        lambda: made(lambda c: c.a.weight.flag if hasattr(c.a.weight, "flag") else 1.0),
        lambda c: c.a.weight,
    ),
    "parameter, by a name made": (
        lambda: made(lambda c: getattr(c.a.weight, "fl" + "ag"[: c.a.in_features], 1.0)),
        lambda c: c.a.weight,
    ),
    "buffer": (
        lambda: made(lambda c: vars(c.n).get("flag", 1.0), lambda c: c.register_buffer("n", torch.ones(1))),
        lambda c: c.n,
    ),
    "held": (captured, lambda c: c.held),
}


@pytest.mark.parametrize("name", ON_TENSORS)
def test_what_is_put_on_a_tensor_is_compared(name: str) -> None:
    make, tensor = ON_TENSORS[name]
    cell = make()
    before = check(cell)
    put(tensor(cell), "flag", 3.0)
    assert not torch.allclose(check(cell), before)
    put(tensor(cell), "flag", 1.0)
    assert torch.allclose(check(cell), before)


def test_what_others_put_on_a_tensor_is_not_read() -> None:
    cell = made(lambda c: 1.0)
    check(cell)
    first = programs.program_for(cell, F_IN, H)
    put(cell.a.weight, "of_an_optimizer", iter([1]))  # type: ignore[arg-type]
    check(cell)
    assert programs.program_for(cell, F_IN, H) is first


def counts_on_the_weight(c: Any, new: Tensor) -> Tensor:
    c.a.weight.calls = getattr(c.a.weight, "calls", 0) + 1
    return new * c.a.weight.calls


def marks_the_state(c: Any, new: Tensor) -> Tensor:
    put(new, "mark", 2.0)
    return new


def clears_the_gradient(c: Any, new: Tensor) -> Tensor:
    c.a.weight.grad = None
    return new


def clears_all_gradients(c: Any, new: Tensor) -> Tensor:
    c.zero_grad()
    return new


def freezes(c: Any, new: Tensor) -> Tensor:
    c.a.weight.requires_grad_(False)
    return new


def hooks_the_weight(c: Any, new: Tensor) -> Tensor:
    c.a.weight.register_hook(lambda gradient: gradient * 0.5)
    return new


def differentiates(c: Any, new: Tensor) -> Tensor:
    new.backward(torch.ones_like(new))
    return new


SETS = {
    counts_on_the_weight: "changes self.*calls",
    marks_the_state: "an attribute put on a tensor of the step's",
    clears_the_gradient: "sets 'grad' of a tensor",
    clears_all_gradients: "reads 'grad' of a tensor",
    freezes: "with 'requires_grad_'",
    hooks_the_weight: "hooks on a gradient with 'register_hook'",
    differentiates: "computes gradients with 'backward'",
}


@pytest.mark.parametrize("does", SETS, ids=lambda does: does.__name__)
def test_what_a_step_sets_of_a_tensor_is_left_as_it_was(does: Callable[[Any, Tensor], Tensor]) -> None:
    cell = made(lambda c: 1.0)
    cell.forward = lambda x, h: does(cell, torch.tanh(cell.a(x) + cell.b(h)))
    weight, gradient = cell.a.weight, torch.ones(H, F_IN)
    weight.grad = gradient
    path = explain_path(Recurrent(cell), torch.zeros(2, 1, F_IN))
    assert re.match(f"eager: .*{SETS[does]}", path), path
    assert weight.grad is gradient and torch.equal(gradient, torch.ones(H, F_IN))
    assert weight.requires_grad and not weight._backward_hooks and not weight.__dict__


def test_a_hook_on_a_parameter_is_the_callers() -> None:
    """It gets the gradient of all steps, in the plain loop as natively."""
    cell, calls = made(lambda c: 1.0), []
    cell.a.weight.register_hook(lambda gradient: calls.append(1) or gradient.clamp(-0.1, 0.1))
    found = []
    for engine in ("native", "eager"):
        cell.zero_grad()
        Recurrent(cell, engine=engine)(ragged(F_IN, (3, 1, 0, 5)))[0].values.sum().backward()
        found.append(cell.a.weight.grad)
    torch.testing.assert_close(*found)
    assert len(calls) == 2 and found[0].abs().max() == 0.1


# Python's and torch's own settings that have one answer wherever a program runs.
CONSTANT = {
    "sys.getdefaultencoding",
    "sys.getfilesystemencoding",
    "torch.get_default_dtype",
    "torch.get_device_module",
}


def test_what_the_process_answers_is_not_frozen() -> None:
    native = []
    for module in (torch, sys, gc, np):
        for name in dir(module):
            asked = getattr(module, name)
            if not callable(asked) or not name.startswith(
                ("is_", "are_", "get", "_is_", "_get", "isenabled")
            ):
                continue
            try:
                found = asked()
            except Exception:
                continue
            cell = made(lambda c: as_number(asked()))  # noqa: B023
            native += [f"{module.__name__}.{name}"] * (
                not isinstance(found, Tensor)
                and explain_path(Recurrent(cell), torch.zeros(2, 1, F_IN)) == "native"
            )
    assert set(native) <= CONSTANT, native
