"""The compiled module called with whatever Python has, and with what the engine gives it, changed in one place.

An error or an answer, and no crash.
"""

from __future__ import annotations

import os
import random
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool import Ragged, _native, cells, nn
from unspool.heads.pooling import Pooling
from unspool.nn import draws
from unspool.streaming import StreamPool
from unspool.text import TextEncoder
from unspool.training.optimizers import RowAdam

from .processes import run

ROUNDS = int(os.environ.get("UNSPOOL_FUZZ_ROUNDS", "400"))  # calls of each function, in one process
ERRORS = (
    TypeError,
    ValueError,
    IndexError,
    RuntimeError,
    OverflowError,
    MemoryError,
    KeyError,
    AttributeError,
)
PLAIN = [
    None,
    True,
    0,
    1,
    -1,
    7,
    2**31,
    -(2**31),
    2**62,
    2**70,
    0.5,
    float("nan"),
    "float32",
    b"x",
    (),
    [],
    {},
    object(),
]


def junk(rng: random.Random, depth: int = 0) -> Any:
    """A wrong type, a wrong length, a huge or negative number, a tensor of another kind, or a list of such."""
    kind = rng.random()
    if kind < 0.35 and depth < 3:
        made = [junk(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 5, 8]))]
        return tuple(made) if rng.random() < 0.3 else made
    if kind < 0.5 and depth < 3:
        return [rng.choice([0, 1, -1, 2, 5, 2**31 - 1, 2**40]) for _ in range(rng.choice([1, 5, 8, 16]))]
    return changed_tensor(torch.zeros(3, 4), rng) if kind < 0.7 else rng.choice(PLAIN)


def changed_tensor(t: Tensor, rng: random.Random) -> Any:
    def resized() -> Tensor:
        copy = t.detach().clone()
        copy.untyped_storage().resize_(0)
        return copy

    changes: list[Callable[[], Any]] = [
        lambda: t.detach().double(),
        lambda: t.detach().half(),
        lambda: t.detach().int(),
        lambda: torch.full_like(t, 2**20),
        lambda: torch.full_like(t, -1),
        lambda: t.detach()[:0],
        lambda: t.detach()[:-1] if t.dim() else t,
        lambda: t.detach()[..., :-1] if t.dim() else t,
        lambda: t.detach().flatten(),
        lambda: t.detach()[None],
        lambda: t.detach().to("meta"),
        lambda: torch._neg_view(t.detach().float()),
        lambda: t.detach().float().to_sparse(),
        lambda: t.detach().numpy(),
        resized,
    ]
    return rng.choice(changes)()


def changed(value: Any, rng: random.Random) -> Any:
    """`value` with one thing in it that is not as it was."""
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.85:
        items, at = list(value), rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.1:
            del items[at]
        elif kind < 0.2:
            items.append(items[at])
        else:
            items[at] = changed(items[at], rng)
        return type(value)(items)
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, Tensor) and rng.random() < 0.8:
        return changed_tensor(value, rng)
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.8:
        return rng.choice([value + 1, value - 1, -value - 1, value * 2 + 3, 2**20, 2**31 - 1, 2**40, 0])
    return junk(rng, 2)


def functions() -> dict[str, Any]:
    """Every function, class and method of the module, by "name" or "Class.name"."""
    found: dict[str, Any] = {}
    for name, value in vars(_native).items():
        if name.startswith("_") or not callable(value) or name == "plant":  # native/plant.cpp
            continue
        found[name] = value
        if isinstance(value, type):
            methods = {m: f for m, f in vars(value).items() if not m.startswith("_") and callable(f)}
            found |= {f"{name}.{m}": f for m, f in methods.items()}
    return found


def record() -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The arguments of each function in some ordinary work of the engine."""
    calls: dict[str, list[Any]] = {}
    originals = functions()

    def recorder(name: str, function: Any) -> Any:
        def wrapped(*args: Any, **named: Any) -> Any:
            calls.setdefault(name, []).append((args, named))
            return function(*args, **named)

        return wrapped

    for name, function in originals.items():
        owner, _, method = name.partition(".")
        if method:
            setattr(getattr(_native, owner), method, recorder(name, function))
    for name, function in originals.items():
        if "." not in name:
            setattr(_native, name, recorder(name, function))
    ordinary_work()
    for name, function in originals.items():
        owner, _, method = name.partition(".")
        setattr(*((getattr(_native, owner), method) if method else (_native, owner)), function)
    return calls


def ordinary_work() -> None:
    torch.manual_seed(0)
    layer = nn.Recurrent(cells.GRUCell(3, 4), bidirectional=True)
    x = Ragged.from_list([torch.randn(t, 3).requires_grad_() for t in (3, 0, 5)])
    output = layer(x)[0]
    Pooling("max", 8)(output, None).sum().backward()
    draws.Dropout(0.5)(torch.ones(40, 40))
    TextEncoder().fit(["It's a text.", "日 é"])
    Ragged.from_padded(x.to_padded(), x.lengths).values.sum().backward()
    stack = nn.Stack("lstm", 3, 4)
    embedding = torch.nn.Embedding(6, 3, sparse=True)
    rows = RowAdam([embedding.weight], untouched="moving")
    for lengths in ((3, 2), (1, 4)):
        ids = Ragged.from_list([torch.randint(0, 6, (t,)) for t in lengths])
        rows.catch_up(embedding.weight, ids.values.unique())
        stack.embedded(ids, embedding)[0].values.sum().backward()
        rows.step()
        rows.zero_grad()
    torch.func.vmap(lambda values: layer(x.with_values(values))[0].values)(torch.randn(2, 8, 3))
    with torch.no_grad():
        one = nn.Recurrent(cells.LSTMCell(3, 4))
        for each in (one, one.freeze()):
            for _ in range(2):
                each.step(torch.randn(2, 3))
        for form in _native.FORMS:
            frozen = stack.freeze(form, embedding)
            frozen.embedded(ids, embedding)
            frozen(x)
        pool = StreamPool(nn.Stack("lstm", 3, 4), capacity=3, threads=1)
        pool.push({"a": torch.randn(2, 3), "b": torch.randn(1, 3)})


def prepare() -> None:
    """Before processes are forked: on one thread, for threads do not survive a fork."""
    torch.set_num_threads(1)
    RECORDED.update(record())
    torch.set_num_threads(2)


RECORDED: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}


def fuzz(name: str) -> str:
    """Calls of one function, half of them with junk alone, half with one change of what it is given."""
    rng = random.Random(name)
    function, recorded = functions()[name], RECORDED.get(name, [])
    if not recorded and name not in WITHOUT_ARGUMENTS:
        return "fault: no ordinary work calls it"
    own = recorded[0][0][:1] if recorded and "." in name else ()
    for args, named in recorded:
        function(*args, **named)
    raised: dict[str, int] = {}
    for turn in range(ROUNDS):
        args, named = [*own, *(junk(rng) for _ in range(rng.choice([0, 1, 2, 3, 4, 5, 9])))], {}
        if recorded and turn % 2:
            given, more = rng.choice(recorded)
            args, named = list(given), dict(more)
            places = [*range(len(own), len(args)), *named]
            if places:
                at = rng.choice(places)
                target: Any = named if isinstance(at, str) else args
                target[at] = changed(target[at], rng)
        try:
            function(*args, **named)
        except ERRORS as error:
            raised[type(error).__name__] = raised.get(type(error).__name__, 0) + 1
    return f"error: {raised}" if raised else "fault: no error of any junk"


def test_parts_of_a_snapshot_that_are_missing_are_refused() -> None:
    for entry in ((), ({},), ({}, "key", 1, 2), (3, "key"), ([], "key", 1)):
        with pytest.raises(TypeError, match="entry is"):
            _native.Snapshot([], [entry])
    for closure in ((), (types.CellType(1),), (types.CellType(1), 1, 2), (1, 1)):
        with pytest.raises(TypeError, match="closure is"):
            _native.Snapshot([], [], [closure])
    for function in (print, None, int):
        with pytest.raises(TypeError, match=r"function is|arguments"):
            _native.Snapshot([], [], [], [function])


WITHOUT_ARGUMENTS = ("Projected", "isa", "isas", "threads_of", "waits_how", "lanes")
ENDLESS = ("peak_flops",)  # runs for as many seconds as it is told
NAMES = [name for name in functions() if name not in ENDLESS]


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    return dict(run([("tests.boundary.test_native", "fuzz", name) for name in NAMES], workers=1))


@pytest.mark.parametrize("name", NAMES)
def test_no_arguments_crash(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts[name].startswith("error"), verdicts[name]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 4000.0, None, "1"])
@pytest.mark.parametrize("threads", [0, -1, 2**20, 2**40, None, 1.5])
def test_a_measurement_without_an_end_is_refused(seconds: Any, threads: Any) -> None:
    for given in ((seconds, 1), (0.0, threads)):
        with pytest.raises((TypeError, ValueError)):
            _native.peak_flops(*given)
