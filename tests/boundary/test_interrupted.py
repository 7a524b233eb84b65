"""What comes between: a signal or the end of the stack in a first call, and a compiler."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import cells
from unspool import nn as unn
from unspool.engine import compiled

from .pairs import F, H, Making

X = torch.ones(3, 2, F)
came = 0


class Slow(nn.Module):
    """Its step takes some 10 ms, in which signals come."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(H, F))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.weight.new_zeros(batch_size, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        for _ in range(300_000):
            pass
        return torch.tanh(x @ self.weight.t() + h)


def fresh(base: type[nn.Module]) -> Any:
    """A layer of a class of its own, which has not been traced."""

    class Fresh(base):  # type: ignore[misc, valid-type]
        pass

    return unn.Recurrent(Fresh())


class Stop(Exception):
    pass


def stop(*_: Any) -> None:
    raise Stop


def count(*_: Any) -> None:
    global came
    came += 1


@pytest.fixture
def handled() -> Iterator[Callable[..., None]]:
    """Handles SIGALRM, which comes after some seconds, and again every so many."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled by the main thread")
    before = signal.getsignal(signal.SIGALRM)

    def handle(handler: Any, *seconds: float) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *seconds)

    yield handle
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def afterwards(layer: Any) -> None:
    assert gc.isenabled() and sys.getprofile() is None
    assert layer.explain_path(X) == "native"


def test_a_handler_that_raises_ends_the_call(handled: Any) -> None:
    for after in (0.002, 0.004, 0.006):
        layer = fresh(Slow)
        with pytest.raises(Stop):
            handled(stop, after)
            layer(X)
        afterwards(layer)


def test_a_handler_that_counts_is_no_part_of_the_step(handled: Any) -> None:
    layer, before = fresh(Slow), came
    handled(count, 0.002, 0.001)
    layer(X)
    handled(count, 0)
    assert came > before
    afterwards(layer)


def test_the_end_of_the_stack() -> None:
    at, here = 0, sys._getframe()
    while here.f_back is not None:
        at, here = at + 1, here.f_back
    ended = 0
    for left in range(20, 100, 8):
        layer = fresh(Making)

        def deep(n: int, layer: Any = layer) -> Any:
            return deep(n - 1) if n else layer(X)

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                deep(sys.getrecursionlimit() - at - left)
            except RecursionError:
                ended += 1
        afterwards(layer)
    assert 0 < ended < 10


def test_a_backward_that_a_compiler_follows_ends_before_the_native_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As compiled autograd does, which takes some seconds to load."""
    layer, outside = unn.Recurrent(cells.GRUCell(F, H)), []
    weights = list(layer.parameters())
    wanted = torch.autograd.grad(layer(X)[0].sum(), weights)
    total = layer(X)[0].sum()

    def noted(function: Any, *args: Any) -> Any:
        outside.append(function)
        monkeypatch.undo()
        return function(*args)

    monkeypatch.setattr(compiled, "outside", noted)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    got = torch.autograd.grad(total, weights)
    assert len(outside) == 1
    torch.testing.assert_close(got, wanted)
