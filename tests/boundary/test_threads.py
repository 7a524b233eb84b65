"""Eight threads of Python on one layer and on many, before and after a fork: the bits of one thread after another."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from unspool import Ragged, cells
from unspool.nn import Recurrent, Stack

from .given import Given, clean
from .processes import in_child
from .subjects import SUBJECTS, F, H
from .surroundings import ordinary

THREADS = 8
SANITIZED = os.environ.get("UNSPOOL_SANITIZED")  # which needs no luck to find a race, and is slow


def calls(subject: str, shared: bool) -> list[Given]:
    """One call for each thread, of other numbers; of one layer, or of a copy each."""
    made = []
    for k in range(THREADS):
        given = clean(SUBJECTS[subject], F, H)
        with torch.no_grad():
            given.x.mul_(1 + k / 8)
        if made and shared:
            given.layer = made[0].layer
        elif given.subject.frozen:
            given.layer = given.layer.freeze()
        made.append(given)
    return made


def at_once(work: list[Callable[[], Any]]) -> list[Any]:
    """What each function gave, or raised; all start together."""
    found: list[Any] = [None] * len(work)
    barrier = threading.Barrier(len(work))

    def run(k: int) -> None:
        barrier.wait()
        try:
            found[k] = work[k]()
        except BaseException as error:
            found[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


def same(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return got.keys() == wanted.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted)


def check(given: list[Given], rounds: int = 1 if SANITIZED else 3) -> str:
    serial = [ordinary(each) for each in given]
    for _ in range(rounds):
        found = at_once([lambda each=each: ordinary(each) for each in given])
        wrong = [k for k in range(len(given)) if not same(found[k], serial[k])]
        if wrong:
            return f"threads {wrong} have other bits"
    return "the same"


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_eight_threads(subject: str, shared: bool) -> None:
    assert check(calls(subject, shared)) == "the same"


@pytest.mark.parametrize("frozen", [False, True])
def test_many_steps(frozen: bool) -> None:
    """Looking at a tensor lets other threads run, a step's own memory notwithstanding: each has its own numbers.

    In a process of its own: another step's addresses are those of freed memory.
    """

    def work(name: str) -> str:
        if not SANITIZED:
            torch.set_num_threads(1)  # OpenMP's do not survive the fork
        torch.manual_seed(0)
        layer: Any = Recurrent(cells.LSTMCell(21, 37))
        layer = layer.freeze() if frozen else layer
        rows = [torch.randn(rows, 21) for rows in range(1, THREADS + 1)]
        with torch.no_grad():
            serial = [layer.step(x) for x in rows]

        def steps(k: int) -> bool:
            with torch.no_grad():
                found = [layer.step(rows[k]) for _ in range(20 if SANITIZED else 400)]
            return all(torch.equal(a, b) for each in found for a, b in zip(each, serial[k], strict=True))

        return str(at_once([lambda k=k: steps(k) for k in range(THREADS)]))

    found = work("") if SANITIZED else in_child(work, str(frozen))
    assert found == str([True] * THREADS)


@pytest.mark.skipif(SANITIZED == "thread", reason="the lock that hands the table on is hidden")
def test_rows_projected_anew() -> None:
    """A call goes with the table that it was given, whatever other threads lay out meanwhile."""
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(50, 21)
    frozen = Stack("gru", 21, 37).freeze("float32", embedding)
    inner: Any = frozen.layers[0].frozen
    ids = [Ragged.from_list([torch.randint(0, 50, (t,)) for t in (30, k + 1)]) for k in range(THREADS)]

    def call(k: int) -> torch.Tensor:
        return frozen.embedded(ids[k], embedding)[0].values

    def calls(k: int) -> bool:
        if k:
            return all(torch.equal(call(k), serial[k]) for _ in range(5 if SANITIZED else 100))
        for _ in range(5 if SANITIZED else 100):
            inner.prepare(21, [torch.zeros(1, 37)])
            inner.project(embedding.weight, [torch.zeros(1, 37)])
        return True

    serial = [call(k) for k in range(THREADS)]
    assert at_once([lambda k=k: calls(k) for k in range(THREADS)]) == [True] * THREADS


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_first_calls_come_from_eight_threads(subject: str) -> None:
    """Of layers that have not been called: all look at the cell, and lay frozen weights out, at once."""
    serial = [ordinary(each) for each in calls(subject, True)]
    given = calls(subject, True)
    found = at_once([lambda each=each: ordinary(each) for each in given])
    assert all(same(got, wanted) for got, wanted in zip(found, serial, strict=True))


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(subject: str) -> None:
    """Used on several threads of OpenMP, which a child is without."""
    given = calls(subject, True)[0]
    given.train = False
    before = ordinary(given)

    def child(name: str) -> str:
        torch.set_num_threads(1)
        return "the same" if same(ordinary(given), before) else "other bits"

    assert in_child(child, subject) == "the same"
    assert same(ordinary(given), before)


@pytest.mark.parametrize("subject", [name for name in SUBJECTS if SUBJECTS[name].frozen])
def test_copies_of_frozen_layers(subject: str) -> None:
    """Copied and pickled before and after the first call, and in a thread."""
    first = calls(subject, True)[0]
    twins = [copy.deepcopy(first.layer), pickle.loads(pickle.dumps(first.layer))]
    wanted = ordinary(first)
    twins += [copy.deepcopy(first.layer), pickle.loads(pickle.dumps(first.layer)), copy.copy(first.layer)]
    for twin in twins:
        first.layer = twin
        assert same(ordinary(first), wanted)
        assert same(at_once([lambda: ordinary(first)])[0], wanted)
