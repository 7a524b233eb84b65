"""A frozen layer is the layer: to the bit in float32, and in every form whatever else is in the batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool.engine.frozen import FORMS
from unspool.nn import Recurrent
from unspool.state import flatten, unflatten

from .compare import ragged, random_state
from .test_contract import STACKED
from .user_cells import CELLS

LENGTHS = (3, 1, 7, 0, 4, 9, 2, 0, 14, 5, 1)
SIZES = [(21, 37), (64, 64), (1, 1)]
REGISTERED = [pytest.param(make, id=name) for name, make in cells.registry.items()]
OTHERS = [
    pytest.param(functools.partial(cells.GRUCell, reset_after=False), id="gru, reset before"),
    pytest.param(functools.partial(cells.LSTMCell, proj_size=6), id="lstm, projected"),
    STACKED,
    *(pytest.param(make, id=make.__name__) for make in CELLS),
]
Make = Callable[[int, int], nn.Module]


def start(layer: Recurrent, batch: int) -> Any:
    return random_state(layer.initial_state(batch))


def all_equal(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flatten(a), flatten(b), strict=True))


@pytest.mark.parametrize("arrangement", [{}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("make", REGISTERED)
def test_the_bits_of_the_layer(make: Make, size: tuple[int, int], arrangement: dict[str, bool]) -> None:
    torch.manual_seed(7)
    layer = Recurrent(make(*size), **arrangement)
    check_bits(layer, ragged(size[0], LENGTHS))


@pytest.mark.parametrize("make", OTHERS)
def test_the_bits_of_other_cells(make: Make) -> None:
    torch.manual_seed(7)
    check_bits(Recurrent(make(21, 37), bidirectional=True), ragged(21, LENGTHS))


def check_bits(layer: Recurrent, x: Ragged) -> None:
    state = start(layer, len(x))
    frozen = layer.freeze()
    for given in (state, None):
        with torch.no_grad():
            expected, ends = layer(x, given)
        output, finals = frozen(x, given)
        assert output.values.dtype == torch.float32 and not output.values.requires_grad
        assert torch.equal(output.values, expected.values) and all_equal(finals, ends)
    assert frozen.explain_path(x) == "native: frozen, float32 weights"


@pytest.mark.filterwarnings("ignore:std")  # of a user's cell, for no rows
@pytest.mark.parametrize("size", SIZES[:2], ids=str)
@pytest.mark.parametrize("make", [*REGISTERED, *OTHERS])
def test_a_step(make: Make, size: tuple[int, int]) -> None:
    """Of 0 to more rows than a tile has; more than 32 go to several threads."""
    torch.manual_seed(7)
    layer = Recurrent(make(*size))
    frozen = layer.freeze()
    for rows in (0, 1, 3, 20, 50):
        x, state = torch.randn(rows, size[0]), start(layer, rows)
        kept = [leaf.clone() for leaf in flatten(state)]
        with torch.no_grad():
            expected = layer.step(x, state)
            plain = layer.cell(x, state)
        for got in (frozen.step(x, state), frozen.step(x.t().contiguous().t(), state)):
            assert type(got) is type(expected)
            for a, b, c in zip(flatten(got), flatten(expected), flatten(plain), strict=True):
                torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-6)
                torch.testing.assert_close(a, c, rtol=2e-5, atol=2e-6)
        assert all_equal(state, kept)


@pytest.mark.parametrize("lengths", [(), (0,), (0, 0), (1,), (40,), (25, 0), tuple(range(20))], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_batches(form: str, lengths: tuple[int, ...]) -> None:
    """Batches of any shape; an empty sequence ends with the state it starts from."""
    layer = Recurrent(cells.LSTMCell(3, 6), bidirectional=True)
    x = ragged(3, lengths)
    state = start(layer, len(x))
    with torch.no_grad():
        expected, ends = layer(x, state)
    output, finals = layer.freeze(form)(x, state)
    torch.testing.assert_close(output.values, expected.values, rtol=0, atol=0 if form == "float32" else 0.05)
    empty = [i for i, length in enumerate(lengths) if length == 0]
    for initial, got, end in zip(flatten(state), flatten(finals), flatten(ends), strict=True):
        assert torch.equal(got[empty], initial[empty]) and got.shape == end.shape


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["lstm", "gru", "mgu", "layer_norm_lstm"])
def test_bits_do_not_depend_on_the_rest_of_the_batch(name: str, form: str, threads: None) -> None:
    """Each sequence alone, in tiles of 2 to 5, in another order, step by step: the bits of the whole batch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer: Any = Recurrent(cells.get(name)(21, 37))
    frozen, sequences = layer.freeze(form), ragged(21, LENGTHS).to_list()
    state = start(layer, len(sequences))
    whole, ends = frozen(Ragged.from_list(sequences), state)
    outputs = whole.to_list()
    for size in (1, 2, 3, 4, 5):
        order = torch.randperm(len(sequences)).tolist()
        for first in range(0, len(order), size):
            part = order[first : first + size]
            some = unflatten(state, [leaf[part] for leaf in flatten(state)])
            output, finals = frozen(Ragged.from_list([sequences[i] for i in part]), some)
            assert all_equal(output.to_list(), [outputs[i] for i in part])
            assert all_equal(finals, [leaf[part] for leaf in flatten(ends)])
    for i, sequence in enumerate(sequences):
        now = unflatten(state, [leaf[i : i + 1] for leaf in flatten(state)])
        for t in range(len(sequence)):
            now = frozen.step(sequence[t : t + 1], now)
        assert all_equal(now, [leaf[i : i + 1] for leaf in flatten(ends)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "layer_norm_lstm"])
@pytest.mark.parametrize("lengths", [[17], [9, 14], LENGTHS, [1] * 70], ids=len)
def test_bits_do_not_depend_on_threads(
    lengths: list[int], name: str, bidirectional: bool, form: str, threads: None
) -> None:
    """Products of a single sequence are large enough here that threads share its steps."""
    torch.manual_seed(0)
    layer = Recurrent(cells.get(name)(24, 96), bidirectional=bidirectional)
    x, results = ragged(24, lengths), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        frozen = layer.freeze(form)
        output, final = frozen(x)
        results.append([output.values, *flatten(final)])
        if not bidirectional:
            results[-1] += flatten(frozen.step(x.values[: len(x)], frozen.initial_state(len(x))))
    assert all_equal(results[0], results[1]) and all_equal(results[0], results[2])
    if form == "float32":
        with torch.no_grad():
            assert torch.equal(results[0][0], layer(x)[0].values)


@pytest.mark.parametrize("form", FORMS)
def test_calls_from_several_threads(form: str) -> None:
    """Batches and steps at once, of one frozen layer."""
    from concurrent.futures import ThreadPoolExecutor

    torch.manual_seed(0)
    frozen = Recurrent(cells.LSTMCell(21, 37)).freeze(form)
    batches = [ragged(21, LENGTHS, seed) for seed in range(8)]
    rows: list[Tensor] = [batch.values[:5] for batch in batches]

    def work(i: int) -> list[Tensor]:
        output, final = frozen(batches[i])
        return [output.values, *flatten(final), *flatten(frozen.step(rows[i]))]

    alone = [work(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(all_equal, pool.map(work, range(8)), alone))
