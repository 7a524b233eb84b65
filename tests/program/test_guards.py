"""A step means what it says: what it reads beside tensors is watched, and what it changes or draws is not frozen."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import functools
import gc
import os
import pickle
import random
import time
import types
import weakref
from collections import deque, namedtuple
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine.compare import ragged
from engine.user_cells import UserCell
from torch import Tensor, nn

from unspool import cells, explain_path
from unspool.engine import programs
from unspool.engine.operators import call_of
from unspool.nn import GRU, Recurrent
from unspool.program.text import of_text

F_IN, H = 4, 5
SCALE = 1.0
MISSING = object()
TABLE = {"scale": [1.0, 2.0]}
ARRAY = np.ones(H, dtype=np.float32)
COUNT = 0
settings = types.ModuleType("settings")
settings.scale = 1.0  # type: ignore[attr-defined]


def helper(x: Tensor) -> Tensor:
    return torch.tanh(x)


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


class Base(UserCell):
    """A cell whose step multiplies by a number that it gets from somewhere: `scale()`."""

    factor: ClassVar[float] = 1.0
    table: ClassVar[dict[str, float]] = {"scale": 1.0}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sizes = H
        self.a, self.b = nn.Linear(F_IN, H), nn.Linear(H, H)
        self.prepare()

    def prepare(self) -> None:
        pass

    def scale(self) -> Any:
        return 1.0

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return helper(self.a(x) + self.b(h)) * self.scale()


def outputs(cell: nn.Module, engine: str) -> Tensor:
    with torch.no_grad():
        return Recurrent(cell, engine=engine)(ragged(F_IN, (3, 1, 0, 5)))[0].values


def check(cell: nn.Module) -> Tensor:
    """The native engine runs the cell, and computes what the plain loop does."""
    got = outputs(cell, "native")
    torch.testing.assert_close(got, outputs(cell, "eager"), rtol=1e-5, atol=1e-6)
    return got


def made(scale: Callable[[Any], Any], prepare: Callable[[Any], None] = lambda c: None) -> Base:
    """A cell of a class of its own."""
    return type("Made", (Base,), {"scale": scale, "prepare": prepare})()


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


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_is_read_is_seen(name: str) -> None:
    cell, change = CHANGES[name]()
    before = check(cell)
    change(cell)
    try:
        assert not torch.allclose(check(cell), before)
    finally:
        settings.scale = Config.scale = 1.0  # type: ignore[attr-defined]
        TABLE["scale"][0] = ARRAY[0] = 1.0
        globals()["SCALE"] = 1.0


def test_a_patched_function_of_the_module_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = made(lambda c: 1.0)
    before = check(cell)
    monkeypatch.setitem(globals(), "helper", torch.sigmoid)
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


def counting(c: Any) -> float:
    c.t += 1
    return 1 / c.t


def counting_in_a_list(c: Any) -> float:
    c.log.append(1)
    return float(len(c.log))


def counting_in_the_class(c: Any) -> float:
    type(c).t += 1
    return type(c).t


def counting_globally(c: Any) -> float:
    global COUNT
    COUNT += 1
    return COUNT


def counting_in_an_array(c: Any) -> float:
    c.array += 1
    return float(c.array[0])


def closed_counter() -> Any:
    count = 0

    def scale(c: Any) -> float:
        nonlocal count
        count += 1
        return count

    return scale


def remembering(c: Any) -> float:
    c.last = c.a.weight * 1
    return 1.0


IMPURE: dict[str, tuple[Callable[[], Callable[[Any], Any]], Callable[[Any], None], str]] = {
    "counter": (lambda: counting, lambda c: setattr(c, "t", 0), r"changes self\.t"),
    "log": (lambda: counting_in_a_list, lambda c: setattr(c, "log", []), r"changes self\.log"),
    "class counter": (
        lambda: counting_in_the_class,
        lambda c: setattr(type(c), "t", 0),
        r"changes 'Made\.t'",
    ),
    "global counter": (
        lambda: counting_globally,
        lambda c: globals().update(COUNT=0),
        r"changes the global 'COUNT'",
    ),
    "array": (
        lambda: counting_in_an_array,
        lambda c: setattr(c, "array", np.zeros(2)),
        r"changes self\.array",
    ),
    "closure": (closed_counter, lambda c: None, r"changes the closed-over 'count'"),
    "tensor": (lambda: remembering, lambda c: None, r"changes self\.last"),
    "random": (lambda: lambda c: random.random(), lambda c: random.seed(3), "random"),
    "random gauss": (lambda: lambda c: random.gauss(1, 1), lambda c: random.seed(3), "random"),
    "numpy random": (lambda: lambda c: float(np.random.rand()), lambda c: np.random.seed(3), "random"),
    "numpy generator": (
        lambda: lambda c: float(c.rng.random()),
        lambda c: setattr(c, "rng", np.random.default_rng(3)),
        "rng|random",
    ),
    "torch generator": (
        lambda: lambda c: torch.rand(1, generator=c.rng).item(),
        lambda c: setattr(c, "rng", torch.Generator().manual_seed(3)),
        "random",
    ),
    "own random": (
        lambda: lambda c: c.rng.random(),
        lambda c: setattr(c, "rng", random.Random(3)),
        "rng|random",
    ),
    "iterator": (
        lambda: lambda c: next(c.it),
        lambda c: setattr(c, "it", iter([float(i) for i in range(99)])),
        "it",
    ),
    "buffer's number": (
        lambda: lambda c: c.n.item(),
        lambda c: c.register_buffer("n", torch.tensor(2.0)),
        "number",
    ),
    "buffer's list": (
        lambda: lambda c: c.n.tolist()[0],
        lambda c: c.register_buffer("n", torch.ones(2)),
        "tolist",
    ),
    "buffer's array": (
        lambda: lambda c: float(c.n.numpy()[0]),
        lambda c: c.register_buffer("n", torch.ones(2)),
        "numpy",
    ),
    "buffer's array, asked": (
        lambda: lambda c: float(np.asarray(c.n)[0]),
        lambda c: c.register_buffer("n", torch.ones(2)),
        "array",
    ),
    "buffer's branch": (
        lambda: lambda c: 2.0 if c.n > 0 else 1.0,
        lambda c: c.register_buffer("n", torch.tensor(2.0)),
        "branch",
    ),
}


@pytest.mark.parametrize("name", IMPURE)
def test_what_a_step_changes_or_draws_runs_in_the_plain_loop(name: str) -> None:
    make, start, reason = IMPURE[name]
    results = []
    for engine in ("eager", "auto"):
        cell = made(make())
        start(cell)
        if engine == "auto":
            with pytest.warns(UserWarning, match=reason):
                results.append(outputs(cell, engine))
            with pytest.MonkeyPatch.context():
                path = explain_path(Recurrent(cell), ragged(F_IN, (2,)))
            assert path.startswith("eager: ")
        else:
            results.append(outputs(cell, engine))
    assert torch.equal(*results)


READS_THE_WORLD = {
    "time": lambda c: time.time() * 0 + 1,
    "perf_counter": lambda c: time.perf_counter() * 0 + 1,
    "date": lambda c: datetime.datetime.now().year * 0 + 1,
    "file": lambda c: len(open(__file__).readline()) * 0 + 1,  # noqa: SIM115
    "environment": lambda c: float(os.environ.get("UNSPOOL_TEST_SCALE", "1")),
    "getenv": lambda c: float(os.getenv("UNSPOOL_TEST_SCALE", "1")),
    "print": lambda c: print(end="") or 1.0,
}


@pytest.mark.parametrize("name", READS_THE_WORLD)
def test_what_cannot_be_watched_runs_in_the_plain_loop(name: str) -> None:
    cell = made(READS_THE_WORLD[name])
    assert "calls '" in explain_path(Recurrent(cell), ragged(F_IN, (2,)))


def test_a_trace_leaves_no_mark_on_the_cell() -> None:
    cell = made(counting)
    cell.t, cell.log = 0, [1]
    generator = cell.rng = np.random.default_rng(0)
    random.seed(5)
    expected = random.random()
    random.seed(5)
    explain_path(Recurrent(cell), ragged(F_IN, (2,)))
    assert cell.t == 0
    assert cell.rng is generator
    assert random.random() == expected


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


class TestMemory:
    def test_cells_go(self) -> None:
        gone = []
        for k in range(20):
            cell = made(lambda c: c.act(1.0), lambda c: None)
            type(cell)._act = lambda c, value: value * c.sizes
            cell.act = cell._act
            cell.loop = [cell._act, {"self": cell.forward}]
            cell.function = (lambda c: lambda: c)(cell)
            with torch.no_grad():
                layer = Recurrent(cell)
                layer(ragged(F_IN, (2, k + 1)))
                layer.step(torch.randn(1, F_IN))
            gone.append(weakref.ref(cell))
            del cell, layer
        gc.collect()
        assert sum(ref() is not None for ref in gone) <= 1

    def test_caches_are_bounded(self) -> None:
        for width in range(1, 100):
            GRU(F_IN, width, batch_first=True)(torch.randn(1, 2, F_IN))
        assert len(programs._shared) <= programs._SHARED == 64
        assert of_text.cache_info().maxsize == call_of.cache_info().maxsize == 64

        class Any_(Base):
            def forward(self, x: Tensor, h: Tensor) -> Tensor:
                return torch.tanh(h + x.sum(1, keepdim=True))

        cell = Any_()
        with torch.no_grad():
            for width in range(1, 40):
                Recurrent(cell)(torch.randn(1, 2, width))
        memory = programs.Memory.of(cell)
        assert len(memory.current) <= memory.MOST and len(memory.entries) <= memory.MOST

    def test_copies_start_anew(self) -> None:
        cell = cells.GRUCell(F_IN, H)
        check(cell)
        for twin in (copy.copy(cell), copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
            memory = programs.Memory.of(twin)
            assert memory is not programs.Memory.of(cell)
            check(twin)

    def test_cells_of_one_configuration_share_a_program(self) -> None:
        first, second = cells.GRUCell(F_IN, H), cells.GRUCell(F_IN, H)
        assert programs.program_for(first, F_IN, H) is programs.program_for(second, F_IN, H)
        other = cells.GRUCell(F_IN, H, reset_after=False)
        assert programs.program_for(other, F_IN, H) is not programs.program_for(first, F_IN, H)


def test_what_the_collector_calls_back_is_no_part_of_a_step() -> None:
    def called(phase: str, info: Any) -> None:
        time.perf_counter()

    threshold = gc.get_threshold()
    gc.callbacks.append(called)
    gc.set_threshold(1)
    try:
        path = explain_path(Recurrent(cells.LSTMCell(F_IN + 1, H)), ragged(F_IN + 1))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(called)
    assert path == "native"


class Comprehending(nn.Module):
    """A step whose comprehension and inner function close over variables of its own, one of which grows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4, 4), 0.1))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 4)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        made = [x, h]

        def last() -> Tensor:
            return made[-1]

        for _ in range(2):
            made.append(sum(part for part in [made[i] for i in range(len(made))]) @ self.weight)
            made.append(torch.tanh(last()))
        return made[-1]


def test_variables_of_the_step_itself_are_no_state() -> None:
    layer = Recurrent(Comprehending())
    x = torch.randn(2, 3, 4)
    assert explain_path(layer, x) == "native"
    assert torch.allclose(layer(x)[0], Recurrent(layer.cell, engine="eager")(x)[0], atol=1e-6)
