"""One sequence on several threads: the bits of one thread."""

from __future__ import annotations

import pytest
import torch

from unspool import Ragged, cells
from unspool.nn import Recurrent

# Sizes for which native/sharing.h has threads share the columns of each product, and for which one makes the prologue
# ahead of the other, over more tiles than their ring holds.
COLUMNS, AHEAD = (24, 96), (128, 40)


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
@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [(COLUMNS, [17]), (COLUMNS, [5, 0]), (COLUMNS, [9, 14]), (AHEAD, [1]), (AHEAD, [25, 0]), (AHEAD, [900])],
)
def test_the_bits_of_one_thread(name: str, sizes: tuple[int, int], lengths: list[int], reverse: bool) -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.get(name)(*sizes), reverse=reverse, engine="native")
    x = Ragged.from_list([torch.randn(t, sizes[0]) for t in lengths])
    alone = results(layer, x, 1)
    for count in (2, 3, 4):
        for a, b in zip(alone, results(layer, x, count), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("sizes", [COLUMNS, AHEAD])
def test_both_directions(sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.LSTMCell(*sizes), bidirectional=True, engine="native")
    x = Ragged.from_list([torch.randn(500, sizes[0])])
    torch.set_num_threads(1)
    alone, _ = layer(x)
    torch.set_num_threads(4)
    assert torch.equal(alone.values, layer(x)[0].values)
