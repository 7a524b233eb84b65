"""Steps that change something, draw, or read the world run in the plain loop, and leave no mark of the trace."""

from __future__ import annotations

import datetime
import gc
import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine.compare import ragged
from torch import Tensor, nn

from unspool import cells, explain_path
from unspool.errors import SlowPathWarning
from unspool.nn import Recurrent

from .scaled_cells import F_IN, H, made, outputs

COUNT = 0


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


READS_THE_CALL = {
    "grad mode": lambda c, x, h: 3.0 if torch.is_grad_enabled() else 1.0,
    "inference mode": lambda c, x, h: 3.0 if torch.is_inference_mode_enabled() else 1.0,
    "inference tensor": lambda c, x, h: 3.0 if h.is_inference() else 1.0,
    "autocast": lambda c, x, h: 3.0 if torch.is_autocast_enabled("cpu") else 1.0,
    "deterministic": lambda c, x, h: 3.0 if torch.are_deterministic_algorithms_enabled() else 1.0,
    "threads": lambda c, x, h: float(torch.get_num_threads()),
    "requires_grad": lambda c, x, h: 3.0 if x.requires_grad else 1.0,
    "grad_fn": lambda c, x, h: 3.0 if h.grad_fn is None else 1.0,
    "leaf": lambda c, x, h: 3.0 if x.is_leaf else 1.0,
    "one sequence": lambda c, x, h: 3.0 if len(x) == 1 else 1.0,
    "one sequence's number": lambda c, x, h: {1: 3.0}.get(x.size(0), 1.0),
    "one sequence's text": lambda c, x, h: 3.0 if str(x.shape[0]) == "1" else 1.0,
    "one sequence's numel": lambda c, x, h: 3.0 if x.numel() == F_IN else 1.0,
    "many sequences": lambda c, x, h: 3.0 if len(x) > 64 else 1.0,
    "globals": lambda c, x, h: 1.0 + globals().get("COUNT", 0),
    "dlpack": lambda c, x, h: float(np.from_dlpack(h.detach()).sum()),
}


@pytest.mark.parametrize("name", READS_THE_CALL)
def test_what_the_call_has_and_no_trace(name: str) -> None:
    """What surrounds a call, how many sequences there are and what torch keeps of a tensor are not those of a trace."""
    cell = made(READS_THE_CALL[name])
    cell.forward = lambda x, h: torch.tanh(cell.a(x) + cell.b(h) * cell.scale(x, h))
    x = ragged(F_IN, (2,) * 70 if name == "many sequences" else (3, 1, 0, 5))
    with pytest.warns(SlowPathWarning, match="reads|calls|batch of one"), torch.no_grad():
        got, _ = Recurrent(cell)(x)
    with torch.no_grad():
        assert torch.equal(got.values, Recurrent(cell, engine="eager")(x)[0].values)


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
