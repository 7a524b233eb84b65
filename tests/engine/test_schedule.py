"""What a sequence gives does not depend on its neighbours, their order, the threads or the layout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unspool import Ragged, cells
from unspool.nn import Recurrent
from unspool.state import flatten, unflatten

from .compare import check_engines, everything, ragged, random_state
from .user_cells import LayerNormGRU, MinGRU, ThreeStates

F_IN, H = 3, 9
MAKERS = [cells.RNNCell, cells.GRUCell, cells.LSTMCell, LayerNormGRU, ThreeStates, MinGRU]
LENGTHS = st.lists(st.integers(0, 9), min_size=0, max_size=40)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def layer_of(make: type[nn.Module], **options: bool) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(make(F_IN, H), engine="native", **options)


@pytest.mark.parametrize("make", MAKERS)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(lengths=LENGTHS, threads=st.integers(1, 4), data=st.data())
def test_a_sequence_alone(
    make: type[nn.Module], lengths: list[int], threads: int, data: st.DataObject
) -> None:
    """Bit for bit: each sequence of a batch, in any order, is what it is by itself."""
    torch.set_num_threads(threads)
    layer, x = layer_of(make, reverse=len(lengths) % 2 == 1), ragged(F_IN, lengths)
    state = random_state(layer.cell.initial_state(len(x)))
    with torch.no_grad():
        output, final = layer(x, state)
        order = data.draw(st.permutations(range(len(lengths))))[:6]
        for i in order:
            alone, last = layer(x[i : i + 1], _rows(state, [i]))
            assert torch.equal(alone.values, output[i])
            assert all(torch.equal(a, b[[i]]) for a, b in zip(flatten(last), flatten(final)))
        if order:
            shuffled, _ = layer(x[list(order)], _rows(state, list(order)))
            assert all(torch.equal(shuffled[k], output[i]) for k, i in enumerate(order))


def _rows(state: object, rows: list[int]) -> object:
    return unflatten(state, [leaf[rows] for leaf in flatten(state)])


@pytest.mark.parametrize("make", MAKERS)
def test_threads_change_no_bit(make: type[nn.Module]) -> None:
    layer = layer_of(make, bidirectional=True)
    x = ragged(F_IN, (5, 0, 1, 12, 7, 7, 3, 2, 19, 4, 4, 1, 30, 6))
    state = random_state((layer.cell.initial_state(len(x)), layer.reverse_cell.initial_state(len(x))))
    results = []
    for threads in (1, 2, 3, 4, 2):
        torch.set_num_threads(threads)
        results.append(everything(layer, x, state))
    for result in results[1:]:
        assert all(torch.equal(result[name], value) for name, value in results[0].items())


@settings(deadline=None, max_examples=8, derandomize=True)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_any_lengths_are_the_plain_loop(lengths: list[int]) -> None:
    torch.manual_seed(0)
    check_engines(LayerNormGRU(F_IN, H), F_IN, lengths, bidirectional=True)


@pytest.mark.parametrize("make", [cells.LSTMCell, ThreeStates])
def test_many_sequences_and_one_step(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    check_engines(make(F_IN, H), F_IN, [k % 4 for k in range(300)])
    check_engines(make(F_IN, H), F_IN, [1] * 300)


@pytest.mark.parametrize("make", MAKERS)
def test_nan_stays_in_its_sequence(make: type[nn.Module]) -> None:
    """NaN in the middle of sequence 2: its later rows are NaN, nothing else is."""
    layer, x = layer_of(make), ragged(F_IN, (4, 6, 5, 3, 8, 2, 1))
    clean = layer(x)[0]
    values = x.values.clone()
    values[4 + 6 + 2] = torch.nan
    dirty = layer(x.with_values(values))[0]
    for i in range(len(x)):
        if i != 2:
            assert torch.equal(dirty[i], clean[i])
    assert torch.equal(dirty[2][:2], clean[2][:2])
    assert dirty[2][-1].isnan().any()


def test_nan_gradients_stay_in_their_sequence() -> None:
    layer, x = layer_of(cells.GRUCell), ragged(F_IN, (4, 6, 5))
    values = x.values.clone()
    values[5] = torch.nan
    values.requires_grad_()
    layer(x.with_values(values))[0].values.sum().backward()
    assert not values.grad[:4].isnan().any()
    assert values.grad[5:10].isnan().any()
    assert not values.grad[10:].isnan().any()


def test_the_same_call_gives_the_same_bits() -> None:
    layer, x = layer_of(cells.LSTMCell, bidirectional=True), ragged(F_IN, (7, 3, 0, 11, 2) * 5)
    state = random_state((layer.cell.initial_state(25), layer.reverse_cell.initial_state(25)))
    first, second = everything(layer, x, state), everything(layer, x, state)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_reverse_is_forward_on_reversed_sequences() -> None:
    layer = layer_of(cells.GRUCell)
    x = ragged(F_IN, (4, 0, 1, 9, 5))
    forward, last = layer(x.reverse())
    layer.reverse = True
    backward, final = layer(x)
    assert torch.equal(backward.values, forward.reverse().values)
    assert torch.equal(final, last)
    twice = forward.reverse().reverse()
    assert torch.equal(twice.values, forward.values)


def test_layouts_agree() -> None:
    """Ragged, packed, and padded of one length: the same bits; and each comes back as its own kind."""
    layer = layer_of(cells.LSTMCell, bidirectional=True)
    x = ragged(F_IN, (4, 1, 9, 5))
    output, final = layer(x)
    packed, packed_final = layer(x.to_packed())
    assert torch.equal(Ragged.from_packed(packed).values, output.values)
    assert all(torch.equal(a, b) for a, b in zip(flatten(packed_final), flatten(final)))
    even = ragged(F_IN, (6, 6, 6))
    padded, _ = layer(even.to_padded())
    assert padded.shape == (3, 6, 2 * H)
    assert torch.equal(padded, layer(even)[0].to_padded())
    layer.batch_first = False
    time_first, _ = layer(even.to_padded().transpose(0, 1))
    assert torch.equal(time_first.transpose(0, 1), padded)


def test_a_long_batch_after_short_ones() -> None:
    """Working memory grows and is used again."""
    layer = layer_of(cells.LSTMCell)
    small, large = ragged(F_IN, (2, 1)), ragged(F_IN, (400, 3, 250))
    before = layer(small)[0].values
    torch.testing.assert_close(
        layer(large)[0].values, Recurrent(layer.cell, engine="eager")(large)[0].values, rtol=1e-5, atol=1e-5
    )
    assert torch.equal(layer(small)[0].values, before)
