"""Products in bfloat16 and int8 against torch's operations and numbers worked by hand, and numbers at the edges."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool.nn import Recurrent
from unspool.state import flatten

from .compare import random_state
from .narrow import FORMS, plain_loop
from .user_cells import UserCell

# Sums of 64 products and activations are off by 5e-7; an operand rounded to the other side by 1e-4 and more.
TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
REGISTERED = [
    *(pytest.param(make, id=name) for name, make in cells.registry.items()),
    pytest.param(functools.partial(cells.GRUCell, reset_after=False), id="gru, reset before"),
    pytest.param(functools.partial(cells.LSTMCell, proj_size=6), id="lstm, projected"),
]


class Products(UserCell):
    """Products alone: of the input and of the state, one after the other with a bias, and each by itself."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, hidden_size)
        self.x = nn.Linear(input_size, hidden_size)
        self.h = nn.Linear(hidden_size, hidden_size, bias=False)
        self.x2, self.h2 = (nn.Linear(n, hidden_size, bias=False) for n in (input_size, hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.x(x) + self.h(state[0]), self.x2(x) * self.h2(state[1])


def products(input_size: int, hidden_size: int) -> Products:
    torch.manual_seed(0)
    cell = Products(input_size, hidden_size)
    for weight in cell.parameters():
        nn.init.uniform_(weight, -1, 1)
    return cell


def one_step(cell: Any, form: str, x: Tensor, state: Any) -> list[Tensor]:
    """The state after one step of each row."""
    batch = Ragged(x, torch.arange(len(x) + 1))
    with torch.no_grad():
        layer = Recurrent(cell)
        return flatten((layer.freeze(form) if form != "layer" else layer)(batch, state)[1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("input_size", "hidden_size"), [(21, 37), (64, 64)])
@pytest.mark.parametrize("make", REGISTERED)
def test_every_cell(make: Callable[[int, int], Any], input_size: int, hidden_size: int, form: str) -> None:
    """Sequences of 0 to 3 steps. One with an operand that may round to either side is left out."""
    torch.manual_seed(3)
    cell, lengths = make(input_size, hidden_size), torch.arange(23) % 4
    x, state = torch.randn(23, 3, input_size), random_state(cell.initial_state(23))
    expected, ends, unsure = plain_loop(cell, form, x, lengths, state)
    frozen = Recurrent(cell).freeze(form)
    output, finals = frozen(Ragged.from_padded(x, lengths), state)
    got, sure = output.to_padded(), ~unsure
    assert sure.float().mean() > 0.3
    for a, b in zip([got, *flatten(finals)], [expected, *flatten(ends)], strict=True):
        torch.testing.assert_close(a[sure], b[sure], **TOLERANCE)
    single, _, unsure = plain_loop(cell, form, x[:, :1], lengths.clamp(1, 1), state)
    stepped = flatten(frozen.step(x[:, 0], state))[0]
    torch.testing.assert_close(stepped[~unsure], single[~unsure, 0], **TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inner", [1, 2, 3, 5, 63])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 33, 65])
def test_sizes(width: int, inner: int, form: str) -> None:
    """From 1 row to more than a tile has; each row's largest number its own."""
    cell = products(inner, width)
    for rows in (1, 2, 3, 5, 13):
        torch.manual_seed(rows)
        scale = 10.0 ** torch.linspace(-3, 2, rows)[:, None]
        x, state = (
            torch.randn(rows, inner) * scale,
            (torch.randn(rows, width), torch.randn(rows, width) * scale),
        )
        _, expected, unsure = plain_loop(cell, form, x[:, None], torch.ones(rows), state)
        for a, b, size in zip(one_step(cell, form, x, state), expected, (scale + 1, scale**2)):
            torch.testing.assert_close((a / size)[~unsure], (b / size)[~unsure], rtol=2e-6, atol=1e-5)


def by_hand(form: str, row: list[float], column: list[float]) -> float:
    """`row` by a matrix of three columns, of which `column` is the middle one."""
    cell = products(len(row), 3)
    with torch.no_grad():
        cell.x.weight[1], cell.x.bias[1] = torch.tensor(column), 0.5
    h = torch.zeros(1, 3)
    return float(one_step(cell, form, torch.tensor([row]), (h, h))[0][0, 1]) - 0.5


def test_numbers_worked_by_hand() -> None:
    # A step is 1/127 in the row, 2/127 in the column: 127, 38 (38.1) and -32 (-31.75); 127, -13 (-12.7) and 64 (63.5:
    # to the even one).
    exact = 127 * 127 + 38 * -13 - 32 * 64
    assert by_hand("int8", [1.0, 0.3, -0.25], [2.0, -0.2, 1.0]) == pytest.approx(exact * 2 / 127**2, rel=1e-5)
    # 8 significant bits: 1 + 1/256 is halfway and goes to 1, 1 + 3/256 to 1 + 4/256, 1 + 5/512 to 1 + 2/256.
    assert by_hand("bfloat16", [1 + 1 / 256, 1 + 3 / 256], [1.0, 1.0]) == pytest.approx(2 + 4 / 256, abs=1e-6)
    assert by_hand("bfloat16", [3.0, -1.0], [1 + 1 / 256, 1 + 5 / 512]) == pytest.approx(
        2 - 2 / 256, abs=1e-6
    )


@pytest.mark.parametrize("form", ["float32", *FORMS])
def test_zeros(form: str) -> None:
    """A row of zeros gives the bias, a column of zeros the same; both exactly."""
    cell, x, h = products(21, 37), torch.randn(14, 21), torch.randn(14, 37)
    with torch.no_grad():
        cell.x.weight[[0, 16, 36]] = 0.0
        cell.h.weight[[0, 16, 36]] = 0.0
    x[5], h[5], h[6] = 0.0, 0.0, 0.0
    first, second = one_step(cell, form, x, (h, h))
    assert torch.equal(first[5], cell.x.bias) and not second[[5, 6]].any()
    assert torch.equal(first[:, [0, 16, 36]], cell.x.bias[[0, 16, 36]].expand(14, 3))
    assert second[0].abs().min() > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-44, 1e-39, 1e-30, 1e30])
def test_tiny_and_huge_numbers(size: float, form: str) -> None:
    """Numbers that float32 holds with few digits or none count as zero; others scale the product."""
    cell, x, h = products(21, 17), torch.randn(14, 21), torch.zeros(14, 17)
    x[3] *= size
    got, plain = (one_step(cell, f, x, (h, h))[0][3] for f in (form, "float32"))
    assert got.isfinite().all()
    torch.testing.assert_close(got, plain, rtol=0, atol=0.15 * max(size, 1e-5))


@pytest.mark.parametrize("form", ["float32", *FORMS])
@pytest.mark.parametrize("where", ["input", "state"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("column", [0, 15, 20])
def test_a_row_that_is_not_finite(column: int, bad: float, where: str, form: str) -> None:
    """It is not finite afterwards, in int8 NaN; the others keep their bits."""
    cell = products(21, 21)
    torch.manual_seed(1)
    x, h = torch.randn(14, 21), torch.randn(14, 21)
    clean = one_step(cell, form, x, (h, h))
    (x if where == "input" else h)[7, column] = bad
    spoilt, others = one_step(cell, form, x, (h, h)), torch.arange(14) != 7
    for before, after in zip(clean, spoilt, strict=True):
        assert torch.equal(before[others], after[others])
        assert after[7].isnan().all() if form == "int8" else not after[7].isfinite().any()


@pytest.mark.parametrize("form", ["float32", *FORMS])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_a_sequence_with_nan(name: str, form: str) -> None:
    """NaN from that step on, as in the layer itself."""
    torch.manual_seed(0)
    layer = Recurrent(cells.get(name)(21, 37))
    x = torch.randn(14, 5, 21)
    frozen = layer.freeze(form)
    clean, _ = frozen(x)
    x[7, 2, 20] = float("nan")
    spoilt, others = frozen(x)[0], torch.arange(14) != 7
    assert torch.equal(clean[others], spoilt[others])
    assert torch.equal(clean[7, :2], spoilt[7, :2]) and spoilt[7, 2:].isnan().all()
    assert torch.equal(spoilt.isnan(), layer(x)[0].isnan())


@pytest.mark.parametrize("form", ["float32", *FORMS])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite(bad: float, form: str) -> None:
    """Its column is lost; the others keep their bits."""
    cell, x, h = products(21, 37), torch.randn(14, 21), torch.randn(14, 37)
    clean = one_step(cell, form, x, (h, h))[0]
    with torch.no_grad():
        cell.x.weight[16, 4] = bad
    spoilt, others = one_step(cell, form, x, (h, h))[0], torch.arange(37) != 16
    assert torch.equal(clean[:, others], spoilt[:, others]) and not spoilt[:, 16].isfinite().any()
