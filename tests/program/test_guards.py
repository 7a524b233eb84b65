"""A step means what it says: what it reads beside tensors is watched, and what it changes or draws is not frozen."""

from __future__ import annotations

import array
import ctypes
import dataclasses
import functools
import gc
import importlib
import itertools
import struct
import sys
import threading
import types
from collections import deque, namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unspool import cells
from unspool.engine import programs
from unspool.nn import Recurrent

from . import scaled_cells
from .scaled_cells import F_IN, Base, H, check, made, outputs

SCALE = 1.0
MISSING = object()
TABLE = {"scale": [1.0, 2.0]}
ARRAY = np.ones(H, dtype=np.float32)
settings = types.ModuleType("settings")
settings.scale = 1.0  # type: ignore[attr-defined]


class Config:
    scale = 1.0


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 1.0


@dataclasses.dataclass
class Options:
    scale: float = 1.0
    more: list[float] = dataclasses.field(default_factory=lambda: [1.0])


Pair = namedtuple("Pair", "scale other")


class Property(Base):
    factor = 1.0

    @property
    def given(self) -> float:
        return self.half * 2

    half = 0.5

    def scale(self) -> float:
        return self.given


def set_global(_: Any) -> None:
    global SCALE
    SCALE = 3.0 if SCALE == 1.0 else 1.0


def closing() -> tuple[Base, Callable[[Any], None]]:
    inside = 1.0

    def change(_: Any) -> None:
        nonlocal inside
        inside = 3.0

    return made(lambda c: inside), change


def closing_over_a_list() -> tuple[Base, Callable[[Any], None]]:
    inside = [1.0]
    return made(lambda c: inside[0]), lambda c: inside.__setitem__(0, 3.0)


def attribute(value: Any, read: Callable[[Any], Any], change: Callable[[Any], Any]) -> Any:
    return lambda: (made(lambda c: read(c.it), lambda c: setattr(c, "it", value())), lambda c: change(c.it))


def setting(cell: Any, name: str, value: Any) -> None:
    setattr(cell, name, value)


CHANGES: dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]] = {
    "attribute": lambda: (
        made(lambda c: c.it, lambda c: setattr(c, "it", 1.0)),
        lambda c: setting(c, "it", 3.0),
    ),
    "list": attribute(lambda: [1.0], lambda v: v[0], lambda v: v.__setitem__(0, 3.0)),
    "nested": attribute(
        lambda: {"a": [(1.0, {"b": [1.0]})]},
        lambda v: v["a"][0][1]["b"][0],
        lambda v: v["a"][0][1]["b"].__setitem__(0, 3.0),
    ),
    "set": attribute(lambda: {1.0}, lambda v: sum(v), lambda v: v.add(2.0)),
    "deque": attribute(lambda: deque([1.0]), lambda v: sum(v), lambda v: v.append(2.0)),
    "numpy": attribute(lambda: np.ones(3), lambda v: float(v[0]), lambda v: v.__setitem__(0, 3.0)),
    "numpy times": attribute(
        lambda: np.ones(H, dtype=np.float32),
        lambda v: torch.from_numpy(v.copy()),
        lambda v: v.__setitem__(0, 3.0),
    ),
    "slots": attribute(Slotted, lambda v: v.scale, lambda v: setting(v, "scale", 3.0)),
    "dataclass": attribute(Options, lambda v: v.scale, lambda v: setting(v, "scale", 3.0)),
    "dataclass's list": attribute(Options, lambda v: v.more[0], lambda v: v.more.__setitem__(0, 3.0)),
    "namespace": attribute(
        lambda: types.SimpleNamespace(s=1.0), lambda v: v.s, lambda v: setting(v, "s", 3.0)
    ),
    "bytearray": attribute(lambda: bytearray(b"\1"), lambda v: v[0], lambda v: v.__setitem__(0, 3)),
    "decimal": lambda: (
        made(lambda c: float(c.it), lambda c: setattr(c, "it", Decimal(1))),
        lambda c: setting(c, "it", Decimal(3)),
    ),
    "tuple": lambda: (
        made(lambda c: c.it.scale, lambda c: setattr(c, "it", Pair(1.0, 2))),
        lambda c: setting(c, "it", Pair(3.0, 2)),
    ),
    "slice": lambda: (
        made(lambda c: float(range(9)[c.it][0]), lambda c: setattr(c, "it", slice(1, None))),
        lambda c: setting(c, "it", slice(3, None)),
    ),
    "sentinel beside it": lambda: (
        made(lambda c: c.it if c.it is not MISSING else 0.0, lambda c: setattr(c, "it", 1.0)),
        lambda c: setting(c, "it", 3.0),
    ),
    "partial": lambda: (
        made(lambda c: c.it(), lambda c: setattr(c, "it", functools.partial(max, 1.0, 0.5))),
        lambda c: setting(c, "it", functools.partial(max, 3.0, 0.5)),
    ),
    "not registered module": attribute(
        lambda: [nn.LeakyReLU(0.5)],
        lambda v: float(v[0].negative_slope),
        lambda v: setting(v[0], "negative_slope", 3.0),
    ),
    "class attribute": lambda: (made(lambda c: c.factor), lambda c: setting(type(c), "factor", 3.0)),
    "base class attribute": lambda: (
        type("Sub", (made(lambda c: c.deep).__class__,), {"deep": 1.0})(),
        lambda c: setting(type(c), "deep", 3.0),
    ),
    "class's dict": lambda: (
        type("Own", (Base,), {"table": {"scale": 1.0}, "scale": lambda c: c.table["scale"]})(),
        lambda c: c.table.__setitem__("scale", 3.0),
    ),
    "shadowed class attribute": lambda: (made(lambda c: c.factor), lambda c: setting(c, "factor", 3.0)),
    "property": lambda: (type("Sub", (Property,), {})(), lambda c: setting(type(c), "half", 1.5)),
    "patched property": lambda: (
        type("Sub", (Property,), {})(),
        lambda c: setting(type(c), "given", property(lambda c: 3.0)),
    ),
    "global": lambda: (made(lambda c: SCALE), set_global),
    "global's list": lambda: (
        made(lambda c: TABLE["scale"][0]),
        lambda c: TABLE["scale"].__setitem__(0, 3.0),
    ),
    "global array": lambda: (made(lambda c: float(ARRAY[0])), lambda c: ARRAY.__setitem__(0, 3.0)),
    "global class": lambda: (made(lambda c: Config.scale), lambda c: setting(Config, "scale", 3.0)),
    "module": lambda: (made(lambda c: settings.scale), lambda c: setting(settings, "scale", 3.0)),  # type: ignore[attr-defined]
    "closure": closing,
    "closure's list": closing_over_a_list,
    "default": lambda: (
        made(lambda c, given={"s": 1.0}: given["s"]),
        lambda c: type(c).scale.__defaults__[0].__setitem__("s", 3.0),
    ),
    "patched method": lambda: (made(lambda c: 1.0), lambda c: setting(c, "scale", lambda: 3.0)),
    "patched class method": lambda: (made(lambda c: 1.0), lambda c: setting(type(c), "scale", lambda c: 3.0)),
    "patched forward": lambda: (
        made(lambda c: 1.0),
        lambda c: setting(c, "forward", lambda x, h: torch.sigmoid(c.a(x) + c.b(h))),
    ),
    "patched class forward": lambda: (
        made(lambda c: 1.0),
        lambda c: setting(type(c), "forward", lambda c, x, h: torch.sigmoid(c.a(x) + c.b(h))),
    ),
    "part's forward": lambda: (
        made(lambda c: 1.0),
        lambda c: setting(c.a, "forward", lambda x: F.linear(x, c.a.weight) * 2),
    ),
    "environment": lambda: (
        made(lambda c: float(c.it["S"]), lambda c: setattr(c, "it", {"S": "1"})),
        lambda c: c.it.__setitem__("S", "3"),
    ),
}


MODULE = types.ModuleType("scaling")
MODULE.scale = 1.0  # type: ignore[attr-defined]


class Scaling(type):
    scale = 1.0


class Scaled(metaclass=Scaling):
    table: ClassVar[dict[str, float]] = {"scale": 1.0}


class Number(float):
    """A number of a class of its own."""


def by_name(read: Callable[[], float]) -> tuple[Base, Callable[[Any], None]]:
    return made(lambda c: read()), lambda c: setting(MODULE, "scale", 3.0)


def replaced(place: Any, name: str) -> tuple[Base, Callable[[Any], None]]:
    own = getattr(place, name)
    return made(lambda c: 1.0), lambda c: setattr(place, name, lambda *args: own(*args) * 2)


CHANGES.update(
    {
        "module by its name": lambda: by_name(lambda: importlib.import_module("scaling").scale),
        "module in sys.modules": lambda: by_name(lambda: sys.modules["scaling"].scale),
        "metaclass": lambda: (made(lambda c: Scaled.scale), lambda c: setting(Scaling, "scale", 3.0)),
        "global class's dict": lambda: (
            made(lambda c: Scaled.table["scale"]),
            lambda c: Scaled.table.__setitem__("scale", 3.0),
        ),
        "number's class": lambda: (
            made(lambda c: float(c.it), lambda c: setattr(c, "it", Number(1.0))),
            lambda c: setting(c, "it", Number(3.0)),
        ),
        "function of torch's layer": lambda: replaced(F, "linear"),
        "torch's layer": lambda: replaced(nn.Linear, "forward"),
    }
)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_is_read_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scaling", MODULE)
    monkeypatch.setitem(sys.modules, "no_module", struct.Struct("i"))  # as some packages put there
    monkeypatch.setattr(F, "linear", F.linear)  # what is replaced is put back
    monkeypatch.setattr(nn.Linear, "forward", nn.Linear.forward)
    cell, change = CHANGES[name]()
    before = check(cell)
    change(cell)
    try:
        assert not torch.allclose(check(cell), before)
    finally:
        settings.scale = Config.scale = 1.0  # type: ignore[attr-defined]
        TABLE["scale"][0] = ARRAY[0] = 1.0
        globals()["SCALE"] = MODULE.scale = 1.0


LOCAL = threading.local()
LOCAL.scale = 1.0

HIDING: dict[str, tuple[Any, Callable[[Any], float], Callable[[Any], Any]]] = {
    "array": (array.array("d", [1.0]), lambda v: v[0], lambda v: v.__setitem__(0, 3.0)),
    "ctypes": (ctypes.c_double(1.0), lambda v: v.value, lambda v: setting(v, "value", 3.0)),
    "ctypes array": ((ctypes.c_double * 2)(1.0), lambda v: v[0], lambda v: v.__setitem__(0, 3.0)),
    "table": (pd.Series([1.0, 2.0]), lambda v: float(v.iloc[0]), lambda v: v.__setitem__(0, 3.0)),
    "thread's own": (LOCAL, lambda v: getattr(v, "scale", 3.0), lambda v: None),
}


@pytest.mark.parametrize("name", HIDING)
def test_what_hides_what_it_holds_runs_in_the_plain_loop(name: str) -> None:
    value, read, change = HIDING[name]
    cell = made(lambda c: read(c.it), lambda c: setattr(c, "it", value))
    before = outputs(cell, "auto")
    change(value)
    with ThreadPoolExecutor(1) as other:
        got = other.submit(outputs, cell, "auto").result()
        assert torch.equal(got, other.submit(outputs, cell, "eager").result())
    assert not torch.allclose(got, before)


def test_hooks_of_all_modules_run_whenever_they_come() -> None:
    cell = made(lambda c: 1.0)
    before = check(cell)

    def doubled(module: nn.Module, given: Any, output: Any) -> Any:
        return output * 2 if isinstance(module, nn.Linear) else None

    hook = nn.modules.module.register_module_forward_hook(doubled)
    try:
        got = outputs(cell, "auto")
        assert torch.equal(got, outputs(cell, "eager")) and not torch.allclose(got, before)
    finally:
        hook.remove()
    assert torch.equal(check(cell), before)


def test_closures_are_seen_where_the_collector_does_not_look() -> None:
    """As in a server that freezes what it has loaded before it forks."""
    cell, change = closing()
    gc.freeze()
    try:
        before = check(cell)
        change(cell)
        assert not torch.allclose(check(cell), before)
    finally:
        gc.unfreeze()


def test_each_of_several_closures_of_one_code_is_seen() -> None:
    def factor(number: float) -> tuple[Callable[[], float], Callable[[], None]]:
        def change() -> None:
            nonlocal number
            number += 1.0

        return lambda: number, change

    functions = [factor(1.0 + k) for k in range(3)]
    cell = made(lambda c: functions[0][0]() * functions[1][0]() * functions[2][0]())
    found = [float(check(cell).abs().sum())]
    for _, change in functions:
        change()
        found.append(float(check(cell).abs().sum()))
    assert all(later > 1.1 * earlier for earlier, later in itertools.pairwise(found))


def test_a_patched_function_of_the_module_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = made(lambda c: 1.0)
    before = check(cell)
    monkeypatch.setattr(scaled_cells, "helper", torch.sigmoid)
    assert not torch.allclose(check(cell), before)
    monkeypatch.undo()
    assert torch.equal(check(cell), before)
    monkeypatch.setattr(torch, "tanh", torch.relu)
    assert not torch.allclose(check(cell), before)


def test_a_built_in_cell_that_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cells.RNNCell(F_IN, H)
    before = check(cell)
    monkeypatch.setattr(cells.RNNCell, "forward", lambda c, x, h: torch.sigmoid(F.linear(x, c.weight_ih) + h))
    assert not torch.allclose(check(cell), before)
    monkeypatch.undo()
    assert torch.equal(check(cell), before)


class TestNotRead:
    """What the step does not read may be anything, and change: the path stays native and the program the same."""

    def test_attributes(self) -> None:
        cell = made(lambda c: 1.0)
        cell.generator_of_others, cell.calls = iter([1]), 0
        check(cell)
        first = self.program(cell)
        cell.calls += 1
        check(cell)
        assert self.program(cell) is first

    def program(self, cell: nn.Module) -> Any:
        return programs.program_for(cell, F_IN, H)

    def test_globals(self) -> None:
        cell = made(lambda c: 1.0)
        check(cell)
        first = self.program(cell)
        globals()["something_else"] = 1
        set_global(None)
        set_global(None)
        assert self.program(cell) is first


def test_compiled_graphs_do_not_keep_stale_values() -> None:
    for name in ("attribute", "list", "class attribute", "global", "closure", "patched forward", "numpy"):
        torch._dynamo.reset()
        cell, change = CHANGES[name]()
        layer = Recurrent(cell)
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        x = torch.randn(2, 3, F_IN)
        for _ in range(2):
            given = x.clone().requires_grad_()
            got = compiled(given)[0]
            expected = Recurrent(cell, engine="eager")(x)[0]
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, msg=name)
            change(cell)
            got.sum().backward()
        globals()["SCALE"] = 1.0
