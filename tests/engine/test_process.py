"""Pickling, threads of Python, and processes that fork after the engine has run."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from unspool import Ragged, cells
from unspool.engine import memory
from unspool.nn import LSTM, Recurrent, Stack
from unspool.program.ir import Graph

from .compare import everything, ragged, random_state
from .user_cells import GRU2014, CoupledLSTM, LayerNormLSTM, MinimalGated, PeepholeLSTM

F_IN, H = 4, 6


@pytest.mark.parametrize(
    "layer",
    [
        Recurrent(PeepholeLSTM(F_IN, H), bidirectional=True),
        Stack("gru", F_IN, H, num_layers=2),
        LSTM(F_IN, H, batch_first=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_pickle_and_deepcopy(layer: torch.nn.Module) -> None:
    x = ragged(F_IN, (3, 1, 5))
    before = layer(x)[0].values
    before.sum().backward()
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert torch.equal(twin(x)[0].values, before)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(work: list[Any]) -> None:
    """Runs every function of `work` at once and raises what any of them raised."""
    barrier, errors = threading.Barrier(len(work)), []

    def guarded(f: Any) -> None:
        try:
            barrier.wait()
            f()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in work]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_threads_share_a_layer(eager_switches: None) -> None:
    layer = Recurrent(cells.LSTMCell(F_IN, H), engine="native", bidirectional=True)
    batches = [ragged(F_IN, (9, 3, 0, 14), seed=k) for k in range(4)]
    expected = [layer(x)[0].values.detach() for x in batches]

    def check(k: int) -> None:
        for _ in range(20):
            assert torch.equal(layer(batches[k])[0].values, expected[k])

    together([lambda k=k: check(k) for k in range(4)])


class SlowList(list):
    """Lets the other threads run in the middle of an append."""

    def append(self, item: Any) -> None:
        for _ in range(300):  # of Python: a step that sleeps would have no program
            pass
        super().append(item)


@pytest.mark.parametrize("make", [GRU2014, CoupledLSTM, LayerNormLSTM, MinimalGated])
def test_threads_plan_one_program_at_once(
    make: type[torch.nn.Module], monkeypatch: pytest.MonkeyPatch, eager_switches: None
) -> None:
    """Cells of one new class share a program; some threads plan it for training, others for prediction."""
    start = Graph.__init__

    def slow(graph: Graph) -> None:
        start(graph)
        graph.nodes = SlowList()

    monkeypatch.setattr(Graph, "__init__", slow)
    fresh = type("Fresh", (make,), {})
    torch.manual_seed(0)
    layers = [Recurrent(fresh(F_IN, H), engine="native") for _ in range(4)]
    x = ragged(F_IN, (3, 1, 5))
    assert [layer.explain_path(x) for layer in layers] == ["native"] * 4
    state = random_state(layers[0].cell.initial_state(len(x)))
    found: dict[int, Any] = {}

    def use(k: int) -> None:
        if k % 2:
            found[k] = everything(layers[k], x, state)
        else:
            with torch.no_grad():
                found[k] = {"output": layers[k](x, state)[0].values.double()}

    together([lambda k=k: use(k) for k in range(4)])
    for k, layer in enumerate(layers):
        layer.engine = "eager"
        expected = everything(layer, x, state)
        for name, value in found[k].items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)


def _in_child(layer: Recurrent, x: Ragged, queue: Any) -> None:
    x.values.requires_grad_()
    output = layer(x)[0].values
    output.sum().backward()
    queue.put((output.detach().tolist(), x.values.grad.tolist()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_after_use() -> None:
    layer = Recurrent(cells.GRUCell(F_IN, H), engine="native", bidirectional=True)
    x = ragged(F_IN, (9, 3, 0, 14))
    with torch.no_grad():
        expected = layer(x)[0].values
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(layer, x, queue))
    child.start()
    output, gradient = queue.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert torch.equal(torch.tensor(output), expected)
    assert torch.tensor(gradient).shape == x.values.shape
    with torch.no_grad():
        assert torch.equal(layer(x)[0].values, expected)


def test_memory_kept_for_backward_is_lent_once() -> None:
    """Three forwards before any backward, backwards in another order, one of them twice: each has its own memory."""
    layer = Recurrent(cells.LSTMCell(F_IN, H), engine="native")
    batches = [ragged(F_IN, (9, 3, 0, 14), seed=k) for k in range(3)]

    def gradient(output: torch.Tensor, x: Ragged, keep: bool = False) -> torch.Tensor:
        return torch.autograd.grad(output.square().sum(), x.values, retain_graph=keep)[0]

    batches = [x.with_values(x.values.requires_grad_()) for x in batches]
    expected = [gradient(layer(x)[0].values, x) for x in batches]
    outputs = [layer(x)[0].values for x in batches]
    assert torch.equal(gradient(outputs[1], batches[1], keep=True), expected[1])
    assert torch.equal(gradient(outputs[0], batches[0]), expected[0])
    layer(batches[0])[0].values.square().sum().backward()
    assert torch.equal(gradient(outputs[2], batches[2]), expected[2])
    assert torch.equal(gradient(outputs[1], batches[1]), expected[1])


def test_large_outputs_and_gradients_are_lent_for_as_long_as_they_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory.Loan, "_store", {})  # nothing of other tests that would fit
    torch.manual_seed(0)
    layer = Recurrent(cells.RNNCell(300, 300), engine="native")
    batches = [ragged(300, (200, 100), seed=k) for k in range(3)]

    def call(x: Ragged) -> tuple[torch.Tensor, torch.Tensor]:
        output = layer(x)[0].values
        (gradient,) = torch.autograd.grad(output.square().sum(), layer.cell.weight_hh)
        return output.detach(), gradient

    expected = [tuple(part.clone() for part in call(x)) for x in batches]
    held = [call(x) for x in batches]
    views = [output[5:7] for output, _ in held]
    places = {part.data_ptr() for pair in held for part in pair}
    assert len(places) == 6
    for got, wanted in zip(held, expected):
        assert torch.equal(got[0], wanted[0])
        assert torch.equal(got[1], wanted[1])
    del held, got
    waiting = {block.data_ptr() for _, block in memory.Loan._store.values()}
    assert len(waiting & places) >= 3  # the gradients; of the outputs there are views
    output, gradient = call(batches[0])
    for view, wanted in zip(views, expected):  # a part of an output holds all of it
        assert torch.equal(view, wanted[0][5:7])
    assert gradient.data_ptr() in waiting
    assert torch.equal(output, expected[0][0])
    assert torch.equal(gradient, expected[0][1])
