"""torch.compile: one graph, the same numbers."""

import copy

import pytest
import torch

from unspool import Ragged, cells
from unspool import nn as unn
from unspool.engine import cudnn, eager
from unspool.state import flatten, unflatten

LAYERS = {
    "recurrent": lambda: unn.Recurrent(cells.LSTMCell(5, 4), bidirectional=True),
    "lstm": lambda: unn.LSTM(5, 4, num_layers=2, batch_first=True, bidirectional=True),
    "gru": lambda: unn.GRU(5, 4, batch_first=True),
    "stack": lambda: unn.Stack("rnn", 5, 4, num_layers=2),
    "reset_before": lambda: unn.Recurrent(cells.GRUCell(5, 4, reset_after=False)),
    "nested": lambda: unn.Recurrent(cells.StackedCell([cells.LSTMCell(5, 3), cells.LSTMCell(3, 4)])),
    "nested, one part": lambda: unn.Recurrent(cells.StackedCell([cells.RNNCell(5, 4)]), bidirectional=True),
}


@pytest.fixture(autouse=True)
def fresh_compiler():
    """torch compiles a function for at most 8 kinds of calls."""
    torch._dynamo.reset()


@pytest.mark.parametrize("name", LAYERS)
def test_one_graph_with_the_same_values_and_gradients(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for run in (layer, compiled):
        x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
        layer.zero_grad()
        output, _ = run(x)
        output.square().sum().backward()
        results.append([output.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())])
        with torch.no_grad():
            results[-1].append(run(x)[0])
    for got, expected in zip(results[1], results[0]):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert layer.explain_path(x) == "native"


def test_a_copy_made_after_compiling_has_its_own_cell():
    layer = LAYERS["recurrent"]()
    x = torch.randn(2, 3, 5)
    torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    twin = copy.deepcopy(layer)
    for weight in twin.parameters():
        weight.data.mul_(0.5)
    torch.testing.assert_close(
        torch.compile(twin, fullgraph=True, backend="aot_eager")(x)[0], twin(x)[0], rtol=0, atol=0
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "cell",
    [
        cells.LSTMCell(5, 4),
        cells.LSTMCell(5, 4, proj_size=2),
        cells.GRUCell(5, 4, bias=False),
        cells.RNNCell(5, 4, nonlinearity="relu"),
    ],
    ids=lambda c: f"{type(c).__name__}{c.extra_repr()}",
)
def test_the_gpu_path_computes_what_the_plain_loop_does(cell, reverse):
    """cuDNN's path is torch's own layer on a PackedSequence; it runs on any device, so also here."""
    torch.manual_seed(0)
    x = Ragged.from_list([torch.randn(n, 5) for n in (3, 1, 7, 0, 4)])
    like = cell.initial_state(5)
    state = unflatten(like, [torch.randn_like(leaf) for leaf in flatten(like)])
    expected, final = eager.run(cell, x.values, x.offsets, state, reverse)
    got, got_final = cudnn.run(cell, dict(cell.named_parameters()), x.values, x.offsets, state, reverse)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(flatten(got_final), flatten(final)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
