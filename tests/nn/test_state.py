"""States between batches: chunks of long series, truncated gradients, samples reset and picked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool.errors import DataError, InvalidParameterError
from unspool.nn import GRU, LSTM, Recurrent, Stack, chunks, detach, reset, select

F, H = 3, 5
LENGTHS = (7, 0, 10, 3, 4)


def ragged(lengths: tuple[int, ...] = LENGTHS) -> Ragged:
    torch.manual_seed(1)
    return Ragged.from_list([torch.randn(n, F) for n in lengths])


def leaves(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves(part)]


def layers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        Recurrent(cells.LSTMCell(F, H), initial_state="learned", engine="native"),
        Stack("gru", F, (H, 4), engine="native"),
        Stack("lstm", F, H, num_layers=2, connection="residual", engine="eager"),
        LSTM(F, H, num_layers=2),
        GRU(F, H),
    ]


LAYERS = pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)


def test_chunks_by_hand() -> None:
    x = Ragged(torch.arange(10), [0, 5, 5, 7, 10])
    assert [[s.tolist() for s in part] for part in chunks(x, 2)] == [
        [[0, 1], [], [5, 6], [7, 8]],
        [[2, 3], [], [], [9]],
        [[4], [], [], []],
    ]
    assert [part.values.tolist() for part in chunks(x, 9)] == [list(range(10))]
    assert list(chunks(Ragged(torch.zeros(0), [0, 0]), 3)) == []
    assert [[s.tolist() for s in part] for part in chunks(x, iter([1, 3, 9, 9]))] == [
        [[0], [], [5], [7]],
        [[1, 2, 3], [], [6], [8, 9]],
        [[4], [], [], []],
    ]
    with pytest.raises(InvalidParameterError, match="'length'"):
        next(chunks(x, 0))


@LAYERS
@pytest.mark.parametrize("length", [1, 3, 4, 20])
def test_chunks_with_the_state_carried_are_the_whole(layer: Any, length: int) -> None:
    """Outputs, final states, and, as the state is not detached, every gradient."""
    x, found = ragged(), []
    for cut in (20, length):
        values = x.values.clone().requires_grad_()
        outputs, state = [], None
        for part in chunks(Ragged(values, x.offsets), cut):
            output, state = layer(part, state)
            outputs.append(output)
        whole = torch.cat([torch.cat([o[i] for o in outputs]) for i in range(len(x))])
        total = whole.cos().sum() + sum(leaf.square().sum() for leaf in leaves(state))
        found.append([whole, *leaves(state), *torch.autograd.grad(total, [values, *layer.parameters()])])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_truncated_gradients_by_hand() -> None:
    """h' = w h + x, w = 2, x = 1: h = 1, 3, 7, 15. d h_4 / d w = h_3 + w (h_2 + w h_1) = 7 + 2 (3 + 2) = 17;
    cut after step 2 it is h_3 + w h_2 = 7 + 6 = 13."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([2.0]))

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, 1)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return self.w * h + x

    for cut, expected in ((False, 17.0), (True, 13.0)):
        layer: Any = Recurrent(Linear(), engine="native")
        state = None
        for part in chunks(Ragged(torch.ones(4, 1), [0, 4]), 2):
            state = detach(state) if cut and state is not None else state
            _, state = layer(part, state)
        assert state.item() == 15.0
        state.sum().backward()
        assert layer.cell.w.grad.item() == expected


@LAYERS
def test_reset_and_select(layer: Any) -> None:
    """Samples 0 and 3 start anew, and 2, 4, 0 are a batch of their own: each as if run alone."""
    x, more = ragged(), ragged((2, 3, 1, 0, 4))
    _, state = layer(x)
    renewed = reset(state, [0, 3], layer)
    mask = torch.tensor([True, False, False, True, False])
    for a, b in zip(leaves(renewed), leaves(reset(state, mask, layer)), strict=True):
        assert torch.equal(a, b)
    output, _ = layer(more, renewed)
    fresh, carried = layer(more)[0], layer(more, state)[0]
    for i in range(5):
        torch.testing.assert_close(output[i], (fresh if i in (0, 3) else carried)[i])
    dim = 1 if isinstance(layer, nn.RNNBase) else 0
    picked = select(state, [2, 4, 0], dim)
    alone, _ = layer(more[[2, 4, 0]], picked)
    torch.testing.assert_close(alone.values, carried[[2, 4, 0]].values)
    assert [leaf.shape[dim] for leaf in leaves(select(state, mask, dim))] == [2] * len(leaves(state))
    assert not any(leaf.requires_grad for leaf in leaves(detach(state)))
    assert all(leaf.requires_grad for leaf in leaves(state))


def test_a_reset_sample_starts_at_the_learned_state_and_trains_it() -> None:
    layer: Any = layers()[0]
    with torch.no_grad():
        layer.learned_state[1].fill_(3.0)
    _, state = layer(ragged())
    _, c = reset(detach(state), [1, 2], layer)
    assert (c[[1, 2]] == 3).all()
    c.sum().backward()
    assert layer.learned_state[1].grad.tolist() == [2.0] * H


@pytest.mark.parametrize("rows", [[5], [-1], [0.5], [True, False], [[0]], "ab"])
def test_rows_that_are_not_there(rows: Any) -> None:
    with pytest.raises((DataError, TypeError, ValueError)) as caught:
        select(torch.zeros(5, 2), rows)
    if rows != "ab":
        assert "rows must be ints (K,) in [0, 4] or a bool mask (5,)" in str(caught.value)
