"""One sequence on several threads: the bits of one thread."""

from __future__ import annotations

import pytest
import torch

from unspool import Ragged, cells
from unspool.nn import Recurrent

F, H = 24, 96  # products large enough that threads share a step (native/run.cpp)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def results(layer: Recurrent, x: Ragged, count: int) -> list[torch.Tensor]:
    """Output without and with training, final state, gradients of input, state and weights."""
    torch.set_num_threads(count)
    with torch.no_grad():
        plain, _ = layer(x)
    values = x.values.detach().clone().requires_grad_()
    states = layer.initial_state(len(x))
    leaves = list(states) if isinstance(states, tuple) else [states]
    leaves = [torch.full_like(leaf, 0.1).requires_grad_() for leaf in leaves]
    start = tuple(leaves) if isinstance(states, tuple) else leaves[0]
    output, final = layer(x.with_values(values), start)
    ends = list(final) if isinstance(final, tuple) else [final]
    total = (output.values * output.values.detach().cos()).sum() + sum((end * end).sum() for end in ends)
    grads = torch.autograd.grad(total, [values, *leaves, *layer.parameters()])
    return [plain.values, output.values, *ends, *grads]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "layer_norm_lstm", "mgu", "peephole_lstm"])
@pytest.mark.parametrize("lengths", [[17], [5, 0], [9, 14]])
def test_the_bits_of_one_thread(name: str, lengths: list[int], reverse: bool) -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.get(name)(F, H), reverse=reverse, engine="native")
    x = Ragged.from_list([torch.randn(t, F) for t in lengths])
    alone = results(layer, x, 1)
    for count in (2, 3, 4):
        for a, b in zip(alone, results(layer, x, count), strict=True):
            assert torch.equal(a, b)


def test_both_directions() -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.LSTMCell(F, H), bidirectional=True, engine="native")
    x = Ragged.from_list([torch.randn(11, F)])
    torch.set_num_threads(1)
    alone, _ = layer(x)
    torch.set_num_threads(4)
    assert torch.equal(alone.values, layer(x)[0].values)
