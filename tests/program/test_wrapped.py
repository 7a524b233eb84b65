"""What a step calls that somebody wrapped, in Python: it is followed, and nothing that it reads or does is frozen."""

from __future__ import annotations

import builtins
import functools
import math
import os
import random
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from engine.compare import ragged
from torch import Tensor, nn

from unspool import explain_path
from unspool.nn import Recurrent

F_IN, H = 4, 5


class Count:
    """What a wrapper keeps."""

    def __init__(self) -> None:
        self.value = 0


def act_nothing(count: Count) -> None:
    pass


def act_count(count: Count) -> None:
    count.value += 1


def act_time(count: Count) -> None:
    time.perf_counter()


def act_file(count: Count) -> None:
    open(os.devnull).close()


def act_random(count: Count) -> None:
    random.random()


# --- how a function is wrapped: (function, what it does besides, its memory) -> the wrapper


def by_function(f: Any, act: Any, count: Count) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        act(count)
        return f(*args, **kwargs)

    return wrapper


def by_wraps(f: Any, act: Any, count: Count) -> Any:
    return functools.wraps(f)(by_function(f, act, count))


def _with(f: Any, act: Any, count: Count, *args: Any, **kwargs: Any) -> Any:
    act(count)
    return f(*args, **kwargs)


def by_partial(f: Any, act: Any, count: Count) -> Any:
    return functools.partial(_with, f, act, count)


class Calling:
    def __init__(self, f: Any, act: Any, count: Count) -> None:
        self.f, self.act, self.count = f, act, count

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.act(self.count)
        return self.f(*args, **kwargs)

    def method(self, *args: Any, **kwargs: Any) -> Any:
        return self(*args, **kwargs)


def by_method(f: Any, act: Any, count: Count) -> Any:
    return Calling(f, act, count).method


def by_mock(f: Any, act: Any, count: Count) -> Any:
    return mock.Mock(side_effect=by_function(f, act, count))


def by_text(f: Any, act: Any, count: Count) -> Any:
    """As code that a tool makes of text."""
    made: dict[str, Any] = {"f": f, "act": act, "count": count}
    exec("def wrapper(*args, **kwargs):\n act(count)\n return f(*args, **kwargs)", made)
    return made["wrapper"]


HOWS: dict[str, Callable[[Any, Any, Count], Any]] = {
    "function": by_function,
    "wraps": by_wraps,
    "partial": by_partial,
    "class": Calling,
    "method": by_method,
    "text": by_text,
}
ACTS = {"counts": act_count, "asks the time": act_time, "opens a file": act_file, "draws": act_random}


# --- where the step finds it: the wrapped function and how the step calls it


def plain(x: float) -> float:
    return x


class Cell(nn.Module):
    def __init__(self, find: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.find = nn.Linear(F_IN, H), nn.Linear(H, H), find

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.a(x) + self.b(h)) * self.find(self)


def from_closure() -> tuple[Cell, Callable[[Any], None]]:
    used = plain

    def put(f: Any) -> None:
        nonlocal used
        used = f

    return Cell(lambda c: float(used(4.0))), put


def from_attribute() -> tuple[Cell, Callable[[Any], None]]:
    cell = Cell(lambda c: float(c.used(4.0)))
    return cell, lambda f: setattr(cell, "used", f)


def from_import() -> Any:
    def find(c: Any) -> float:
        import statistics

        return float(statistics.fmean([4.0]))

    return find


package = types.ModuleType("package")
package.inner = types.ModuleType("inner")  # type: ignore[attr-defined]
package.inner.used = plain  # type: ignore[attr-defined]

# name -> (the place and the name to be patched, the step's use)
PATCHED: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "builtin": (builtins, "pow", lambda c: float(pow(2.0, 2.0))),
    "global": (sys.modules[__name__], "plain", lambda c: plain(4.0)),
    "math": (math, "sqrt", lambda c: math.sqrt(16.0)),
    "numpy": (np, "sqrt", lambda c: float(np.sqrt(16.0))),
    "torch": (torch, "sigmoid", lambda c: torch.sigmoid(c.a.bias)),
    "functional": (torch.nn.functional, "relu", lambda c: torch.nn.functional.relu(c.a.bias)),
    "module in a module": (package.inner, "used", lambda c: package.inner.used(4.0)),
    "imported in the step": (statistics, "fmean", from_import()),
}


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield monkeypatch.setattr
    monkeypatch.undo()


def outputs(cell: nn.Module, engine: str) -> Tensor:
    with torch.no_grad():
        return Recurrent(cell, engine=engine)(ragged(F_IN, (3, 1, 2)))[0].values


def path(cell: nn.Module) -> str:
    return explain_path(Recurrent(cell), ragged(F_IN, (3, 1, 2)))


WHERE = [*PATCHED, "closure", "attribute"]


def placed(where: str, patch: Any) -> tuple[Cell, Callable[[Any], None], Any]:
    """The cell, what puts a wrapper in the function's place, and the function."""
    if where in PATCHED:
        place, name, find = PATCHED[where]
        return Cell(find), lambda f: patch(place, name, f), getattr(place, name)
    cell, put = from_closure() if where == "closure" else from_attribute()
    put(plain)
    return cell, put, plain


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("where", WHERE)
def test_a_wrapper_is_followed(where: str, how: str, patch: Any) -> None:
    """One that does nothing else is native; what it does besides is the reason for the plain loop."""
    cell, put, function = placed(where, patch)
    outputs(cell, "auto")
    for act in (act_nothing, *ACTS.values()) if where == "builtin" else (act_nothing, act_count):
        count = Count()
        put(HOWS[how](function, act, count))
        found = path(cell)
        assert count.value == 0, "looking at the step left a mark"
        assert (found == "native") == (act is act_nothing), (act.__name__, found)
        words = {act_count: "change", act_time: "time", act_file: "open", act_random: "random"}
        assert words.get(act, "native") in found


@pytest.mark.parametrize("how", HOWS)
def test_what_a_wrapper_reads_is_compared(how: str, patch: Any) -> None:
    """A number in the wrapper's memory: changed after the trace, it is traced anew."""
    count, got = Count(), []
    patch(math, "sqrt", HOWS[how](lambda x: x + count.value, act_nothing, count))
    cell = Cell(PATCHED["math"][2])
    for value in (0, 2, 0):
        count.value = value
        assert path(cell) == "native"
        got.append(outputs(cell, "native"))
        torch.testing.assert_close(got[-1], outputs(cell, "eager"), rtol=1e-5, atol=1e-6)
    assert torch.equal(got[0], got[2]) and not torch.allclose(got[0], got[1])


@pytest.mark.parametrize("name", ["print", "pow"])
def test_mocks_count_their_calls(name: str) -> None:
    def find(c: Any) -> float:
        return (print() or 1.0) if name == "print" else pow(1.0, 2.0)

    cell = Cell(find)
    with mock.patch.object(builtins, name, by_mock(getattr(builtins, name), act_nothing, Count())):
        found = path(cell)
    assert found != "native" and name in found


def test_a_pure_builtin_is_native_and_a_patch_of_it_is_seen(patch: Any) -> None:
    cell = Cell(PATCHED["builtin"][2])
    before = outputs(cell, "native")
    patch(builtins, "pow", lambda *args: 8.0)
    after = outputs(cell, "native")
    torch.testing.assert_close(after, outputs(cell, "eager"), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after, before)


def test_code_that_is_replaced_in_place_is_seen() -> None:
    """As tools do that reload a module while it runs."""

    def used(x: float, more: float = 0.0) -> float:
        return x + more

    cell = Cell(lambda c: c.used(1.0))
    cell.used = used
    got = [outputs(cell, "native")]
    used.__defaults__ = (1.0,)
    got.append(outputs(cell, "native"))
    used.__code__ = (lambda x, more: x + 2 * more).__code__
    got.append(outputs(cell, "native"))
    torch.testing.assert_close(got[2], outputs(cell, "eager"), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(got[0], got[1]) and not torch.allclose(got[1], got[2])


def test_a_partial_of_compiled_code(patch: Any) -> None:
    cell = Cell(lambda c: c.used(2.0))
    cell.used = functools.partial(pow, 2.0)
    assert path(cell) == "native"
    cell.used = functools.partial(random.uniform, 1.0)
    assert "random" in path(cell)
    cell.used = functools.partial(time.perf_counter)
    cell.find = lambda c: c.used()
    assert "time" in path(cell)
    cell = Cell(lambda c: math.sqrt() or 1.0)
    patch(math, "sqrt", functools.partial(print, end=""))
    assert "print" in path(cell)


class Scaled:
    scale = 1.0

    def __mul__(self, other: Any) -> Any:
        return other * self.scale


def test_what_the_class_of_an_object_holds_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(lambda c: c.used * 1.0)
    cell.used = Scaled()
    before = outputs(cell, "native")
    for name, value in (("scale", 2.0), ("__mul__", lambda s, other: other * 3.0)):
        monkeypatch.setattr(Scaled, name, value)
        after = outputs(cell, "native")
        torch.testing.assert_close(after, outputs(cell, "eager"), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(after, before)
        before = after


def test_a_function_with_a_memory_of_its_own() -> None:
    @functools.lru_cache
    def number() -> float:
        return current[0]

    current = [1.0]
    cell = Cell(lambda c: number())
    before = outputs(cell, "auto")
    current[0] = 2.0
    number.cache_clear()
    after = outputs(cell, "auto")
    torch.testing.assert_close(after, outputs(cell, "eager"), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after, before)
