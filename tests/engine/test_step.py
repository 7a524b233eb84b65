"""`.step`: the cell's own numbers, at once after anything of the cell changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from unspool import cells
from unspool.engine import programs
from unspool.nn import Recurrent
from unspool.state import flatten

F, H = 19, 37


def state_of(cell: Any, batch: int) -> Any:
    state = cell.initial_state(batch)
    return tuple(torch.randn_like(s) for s in state) if isinstance(state, tuple) else torch.randn_like(state)


def check(layer: Recurrent, x: torch.Tensor, state: Any, native: bool = True) -> None:
    """The step of `layer`, natively, and the cell's own forward."""
    before = [leaf.clone() for leaf in flatten(state)]
    with torch.no_grad():
        got, expected = layer.step(x, state), layer.cell(x, state)
    for a, b in zip(flatten(got), flatten(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-6)
    assert all(torch.equal(a, b) for a, b in zip(before, flatten(state)))
    assert (programs.Memory.of(layer.cell).step is not None) == native


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 13, 40])  # up to 4 rows weights are read in place
@pytest.mark.parametrize("name", cells.names())
def test_every_cell(name: str, batch: int) -> None:
    cell = cells.get(name)(F, H)
    check(Recurrent(cell, engine="native"), torch.randn(batch, F), state_of(cell, batch))


def _lstm() -> tuple[Recurrent, torch.Tensor, Any]:
    cell = cells.LSTMCell(F, H)
    return Recurrent(cell), torch.randn(2, F), state_of(cell, 2)


def _add_in_place(cell: Any) -> None:
    cell.weight_hh.data.add_(0.3)


def _new_data(cell: Any) -> None:
    cell.weight_ih.data = torch.randn(F, 4 * H).t()  # other strides


def _new_parameter(cell: Any) -> None:
    cell.weight_hh = nn.Parameter(torch.randn(4 * H, H))


def _setting(cell: Any) -> None:
    cell.activation = "relu"


@pytest.mark.parametrize("change", [_add_in_place, _new_data, _new_parameter, _setting])
def test_a_change_of_the_cell_is_seen(change: Callable[[Any], None]) -> None:
    layer, x, state = _lstm()
    check(layer, x, state)
    with torch.no_grad():
        before = layer.step(x, state)[0]
    change(layer.cell)
    check(layer, x, state)
    with torch.no_grad():
        assert not torch.equal(layer.step(x, state)[0], before)


def test_a_hook_runs() -> None:
    layer, x, state = _lstm()
    check(layer, x, state)
    seen = []
    layer.cell.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        layer.step(x, state)
    assert seen == [1]


def test_other_tensors() -> None:
    """Rows that are not contiguous, another dtype, gradients: right on whatever path they take."""
    layer, x, (h, c) = _lstm()
    check(layer, x, (h, c))
    check(layer, torch.randn(F, 2).t(), (h.t().contiguous().t(), c))
    layer.double()
    check(layer, x.double(), (h.double(), c.double()))
    layer.float()
    new, _ = layer.step(x, (h, c))
    new.sum().backward()
    assert layer.cell.weight_hh.grad is not None and layer.cell.weight_hh.grad.abs().sum() > 0


def test_a_dead_cell_leaves_nothing() -> None:
    layer, x, state = _lstm()
    check(layer, x, state)
    cell, weight = weakref.ref(layer.cell), weakref.ref(layer.cell.weight_hh)
    del layer
    assert cell() is None and weight() is None


def test_shapes_of_another_width_are_the_cells_own_error() -> None:
    layer, x, state = _lstm()
    check(layer, x, state)
    with torch.no_grad(), pytest.raises(RuntimeError):
        layer.step(torch.randn(2, F + 1), state)
