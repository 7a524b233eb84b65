"""What a sequence gives does not depend on its neighbours, their order, the layout, the pads or the cuts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unspool import Ragged
from unspool.nn import Recurrent
from unspool.state import flatten, unflatten

from .cases import PROFILE, SIZES, Case, assert_bits, assert_near, batch_of, cases, layer_of, results
from .user_cells import CELLS

each_cell = pytest.mark.parametrize("name", CELLS)
DIRECTIONS = st.sampled_from(["forward", "reverse", "both"])


def forward(layer: Recurrent, x: Any, state: Any) -> tuple[Any, list[Tensor]]:
    with torch.no_grad():
        output, final = layer(x, state)
    return output, flatten(final)


def values_of(output: Ragged, final: list[Tensor]) -> dict[str, Tensor]:
    return {"output": output.values, **{f"final {k}": leaf for k, leaf in enumerate(final)}}


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS, data=st.data())
def test_neighbours(name: str, case: Case, direction: str, data: st.DataObject) -> None:
    """Some of the sequences by themselves: the same values and gradients. Those of weights add up."""
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    count = len(case.lengths)
    chosen = data.draw(st.lists(st.booleans(), min_size=count, max_size=count), label="chosen")
    parts = [[i for i in range(count) if chosen[i] == side] for side in (True, False)]
    together, apart = results(layer, batch), [results(layer, batch.rows(rows)) for rows in parts]
    for rows, alone in zip(parts, apart):
        assert_bits(alone.rows(range(len(rows))), together.rows(rows))
    sums = {f"d {n}": apart[0].d_weights[n] + apart[1].d_weights[n] for n in together.d_weights}
    # Sums over up to 1,089 tokens, added in another order.
    assert_near(sums, {f"d {n}": g for n, g in together.d_weights.items()}, 0.0, 1e-5)


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS, data=st.data())
def test_order(name: str, case: Case, direction: str, data: st.DataObject) -> None:
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    order = data.draw(st.permutations(range(len(case.lengths))), label="order")
    straight, shuffled = results(layer, batch), results(layer, batch.rows(order))
    assert_bits(shuffled.rows(range(len(order))), straight.rows(order))


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS, right=st.integers(0, 9), left=st.integers(0, 9))
def test_layouts_and_pads(name: str, case: Case, direction: str, right: int, left: int) -> None:
    """A list, padded on either side (the pads NaN, any number of them), nested, and with the time axis first."""
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    x, expected = batch.x, values_of(*forward(layer, batch.x, batch.state))
    longest = int(x.lengths.max())
    on_right = x.to_padded(torch.nan, length=longest + right)
    on_left = x.to_padded(torch.nan, "left", longest + left)
    layouts = [
        Ragged.from_list(x.to_list()),
        Ragged.from_list([t.numpy() for t in x]),
        Ragged.from_padded(on_right, x.lengths),
        Ragged.from_padded(on_right.transpose(0, 1), x.lengths, batch_first=False),
        Ragged.from_padded(on_left, mask=x.mask("left", longest + left)),
        Ragged.from_nested(x.to_nested()),
    ]
    for other in layouts:
        assert_bits(values_of(*forward(layer, other, batch.state)), expected)


@each_cell
@PROFILE
@given(case=cases(), direction=DIRECTIONS)
def test_packed(name: str, case: Case, direction: str) -> None:
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case).rows([i for i, n in enumerate(case.lengths) if n])
    packed, final = forward(layer, batch.x.to_packed(), batch.state)
    expected = values_of(*forward(layer, batch.x, batch.state))
    assert_bits(values_of(Ragged.from_packed(packed), final), expected)


@each_cell
@PROFILE
@given(case=cases(), pads=st.integers(0, 9))
def test_a_padded_tensor(name: str, case: Case, pads: int) -> None:
    """A block given as it is, pads included: they come after the real steps, which do not see them."""
    layer = layer_of(name, case)
    batch = batch_of(layer, case)
    padded = batch.x.to_padded(0.5, length=max(case.lengths) + pads)
    output, _ = forward(layer, padded, batch.state)
    assert output.shape[:2] == padded.shape[:2]
    expected, _ = forward(layer, batch.x, batch.state)
    assert_bits({"output": Ragged.from_padded(output, batch.x.lengths).values}, {"output": expected.values})


@each_cell
@PROFILE
@given(
    case=cases(),
    cuts=st.lists(st.integers(0, max(SIZES)), max_size=4),
    direction=st.sampled_from(["forward", "reverse"]),
)
def test_chunks(name: str, case: Case, cuts: list[int], direction: str) -> None:
    """Cut in time, the state carried on: the same bits, however unequal the chunks; some are empty."""
    layer = layer_of(name, case, direction)
    batch = batch_of(layer, case)
    expected = values_of(*forward(layer, batch.x, batch.state))
    bounds = [0, *sorted(cuts), max(SIZES)]
    state, pieces = batch.state, []
    steps = list(itertools.pairwise(bounds))
    for start, stop in steps if direction == "forward" else reversed(steps):
        chunk = Ragged.from_list([t[start:stop] for t in batch.x])
        output, final = forward(layer, chunk, state)
        state = unflatten(batch.state, final)
        pieces.append(output.to_list())
    if direction == "reverse":
        pieces.reverse()
    joined = Ragged.from_list([torch.cat(parts) for parts in zip(*pieces)])
    assert_bits(values_of(joined, flatten(state)), expected)


@each_cell
@PROFILE
@given(case=cases())
def test_step_by_step(name: str, case: Case) -> None:
    layer = layer_of(name, case)
    batch = batch_of(layer, case)
    padded, lengths = batch.x.to_padded(), batch.x.lengths
    state, outputs = batch.state, []
    with torch.no_grad():
        for t in range(int(lengths.max())):
            new = flatten(layer.step(padded[:, t], state))
            alive = (t < lengths)[:, None]
            state = unflatten(state, [torch.where(alive, a, b) for a, b in zip(new, flatten(state))])
            outputs.append(flatten(state)[0])
    stepped = values_of(Ragged.from_padded(torch.stack(outputs, 1), lengths), flatten(state))
    # One row at a time, products may be summed in another order than over many.
    assert_near(stepped, values_of(*forward(layer, batch.x, batch.state)), 1e-5, 0.0)


@each_cell
@PROFILE
@given(case=cases())
def test_reverse_of_reverse(name: str, case: Case) -> None:
    """A reversed layer on reversed sequences is the layer; twice reversed, a batch is itself."""
    layer, mirrored = layer_of(name, case), layer_of(name, case, "reverse")
    batch = batch_of(layer, case)
    assert_bits({"x": batch.x.reverse().reverse().values}, {"x": batch.x.values})
    output, final = forward(mirrored, batch.x.reverse(), batch.state)
    assert_bits(values_of(output.reverse(), final), values_of(*forward(layer, batch.x, batch.state)))
