"""A cell is traced while other threads are at work: what they do is not the step's, and stays as they did it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, explain_path
from unspool.nn import Recurrent
from unspool.program import surroundings, trace

SEEN: dict[str, list[float]] = {"scales": [1.0], "log": []}


def fresh_cell(step: Callable[[Any, Tensor, Tensor], Tensor]) -> Any:
    class Fresh(nn.Module):
        input_size, hidden_size, output_size = 3, 4, 4
        total = 0

        def __init__(self) -> None:
            super().__init__()
            self.a, self.steps = nn.Linear(3, 4), 0

        def initial_state(self, batch_size: int) -> Tensor:
            return self.a.weight.new_zeros(batch_size, 4)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return step(self, x, h)

    return Fresh()


def plain(self: Any, x: Tensor, h: Tensor) -> Tensor:
    return torch.tanh(self.a(x) + h) * SEEN["scales"][0]


class Other:
    """A thread that does its work while a step is looked at, `times` times."""

    def __init__(self, work: Callable[[], Any], times: int) -> None:
        self.work, self.times, self.found = work, times, []
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self.go.acquire() and self.thread is not None:
            self.found.append(self.work())
            self.done.release()

    def end(self) -> None:
        thread, self.thread = self.thread, None
        self.go.release()
        thread.join()


# Not from this file, whose code is the step's own.
TURN = """
def and_then(self, *args, **named):
    if tanh in args and other.times > 0:
        other.times -= 1
        other.go.release()
        other.done.acquire()
    return dispatch(self, *args, **named)
"""


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Other]]:
    others = []

    def start(work: Callable[[], Any], times: int) -> Other:
        other = Other(work, times)
        others.append(other)
        names = {"other": other, "tanh": torch.ops.aten.tanh.default}
        names["dispatch"] = trace.Recorder.__torch_dispatch__
        exec(compile(TURN, trace.__file__, "exec"), names)
        monkeypatch.setattr(trace.Recorder, "__torch_dispatch__", names["and_then"])
        return other

    yield start
    for other in others:
        other.end()


def x() -> Ragged:
    return Ragged.from_list([torch.ones(n, 3) for n in (2, 3)])


DRAWS: dict[str, tuple[Callable[[], Any], int]] = {
    "torch": (lambda: torch.rand(1).item(), 100),
    "python": (random.random, 100),
    "numpy": (np.random.rand, 2),  # at every try of a step they would be the step's own
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_of_another_thread(name: str, beside: Callable[..., Other]) -> None:
    draw, times = DRAWS[name]
    layer, before = Recurrent(fresh_cell(plain)), surroundings.generators()
    wanted = [draw() for _ in range(times)]
    surroundings.restore_generators(before)
    other = beside(draw, times)
    assert explain_path(layer, x()) == "native"
    assert other.found and other.found == wanted[: len(other.found)]


def test_what_another_thread_changes_stays_changed(beside: Callable[..., Other]) -> None:
    SEEN["log"].clear()
    other = beside(lambda: SEEN["log"].append(1.0), 1)
    assert explain_path(Recurrent(fresh_cell(plain)), x()) == "native"
    assert len(other.found) == 1 and SEEN["log"] == [1.0]


def test_what_the_step_changes_is_seen_beside_other_threads(beside: Callable[..., Other]) -> None:
    def counting(self: Any, x: Tensor, h: Tensor) -> Tensor:
        self.steps += 1
        return plain(self, x, h)

    def of_the_class(self: Any, x: Tensor, h: Tensor) -> Tensor:
        type(self).total += 1
        return plain(self, x, h)

    def drawing(self: Any, x: Tensor, h: Tensor) -> Tensor:
        return plain(self, x, h) * random.gauss(0, 1)

    def drawing_arrays(self: Any, x: Tensor, h: Tensor) -> Tensor:
        return plain(self, x, h) * float(np.random.rand())

    beside(lambda: None, 100)
    for step, why in (
        (counting, "changes self.steps"),
        (of_the_class, "changes 'Fresh.total'"),
        (drawing, "random"),
        (drawing_arrays, "random"),
    ):
        for _ in range(2):  # `random.gauss` keeps the second of each pair that it makes
            random.gauss(0, 1)
            cell, states = fresh_cell(step), surroundings.generators()
            assert why in explain_path(Recurrent(cell), x())
            assert cell.steps == 0 and type(cell).total == 0 and surroundings.generators() == states


def test_the_default_type_is_put_back_by_the_last_thread_out() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        inside, leave = threading.Event(), threading.Event()

        def stay() -> None:
            with surroundings.defaults():
                inside.set()
                leave.wait()

        thread = threading.Thread(target=stay)
        thread.start()
        inside.wait()
        with surroundings.defaults():
            assert torch.get_default_dtype() is torch.float32
            leave.set()
            thread.join()
            assert torch.get_default_dtype() is torch.float32
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
