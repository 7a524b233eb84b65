"""The native engine is the plain loop: values and gradients of every registered cell and of cells of users."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import unspool
from unspool import cells
from unspool.errors import EngineError
from unspool.nn import Recurrent
from unspool.state import flatten

from .compare import assert_near, check_engines, everything, ragged, random_state
from .user_cells import CELLS, POINTWISE, Nested, Pointwise

# Options of a registered cell beside its sizes. A cell that is not here is checked with its defaults.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "rnn": [{"nonlinearity": "relu"}, {"bias": False}],
    "gru": [{"reset_after": False}, {"bias": False}, {"bias": False, "reset_after": False}],
    "lstm": [{"proj_size": 2}, {"bias": False}],
    "peephole_lstm": [{"peepholes": "o"}, {"peepholes": "if", "bias": False}],
    "coupled_lstm": [{"bias": False}],
    "layer_norm_rnn": [{"bias": False, "nonlinearity": "relu"}],
    "layer_norm_gru": [{"bias": False}],
    "layer_norm_lstm": [{"bias": False}],
    "mgu": [{"bias": False}],
    "min_gru": [{"bias": False}],
    "min_lstm": [{"bias": False}],
    "ind_rnn": [{"bias": False, "nonlinearity": "tanh"}],
    "leaky_rnn": [{"leak": 0.2, "learn_leak": True}, {"leak": 1.0, "bias": False}],
    "slstm": [{"forget_gate": "exp"}, {"bias": False}],
    "mlstm": [{"forget_gate": "exp"}, {"bias": False}],
    "mogrifier_lstm": [{"rounds": 2, "bias": False}],
    "cfc": [{"elapsed": True}, {"bias": False}],
    "gru_d": [{"elapsed": True}, {"bias": False}],
}
REGISTERED = [
    pytest.param(
        functools.partial(make, **options), id="-".join([name, *(f"{k}={v}" for k, v in options.items())])
    )
    for name, make in cells.registry.items()
    for options in [{}, *OPTIONS.get(name, [])]
]


def stacked(input_size: int, hidden_size: int) -> nn.Module:
    """Three layers of other cells and widths; one of them a user's with a nested state."""
    parts = [
        cells.LSTMCell(input_size, hidden_size + 2),
        Nested(hidden_size + 2, 3),
        cells.MGUCell(3, hidden_size),
    ]
    return cells.StackedCell(parts)


STACKED = pytest.param(stacked, id="stacked")
USERS = [STACKED, *[pytest.param(make, id=make.__name__) for make in CELLS]]
POINTS = [pytest.param(functools.partial(Pointwise, name), id=name) for name in POINTWISE]
Make = Callable[[int, int], nn.Module]


def build(make: Make, input_size: int, hidden_size: int) -> nn.Module:
    torch.manual_seed(7)
    return make(input_size, hidden_size)


@pytest.mark.parametrize("make", [*REGISTERED, *USERS, *POINTS])
def test_one_direction(make: Make) -> None:
    check_engines(build(make, 4, 5), 4)


@pytest.mark.parametrize("make", [*REGISTERED, *USERS])
def test_reverse(make: Make) -> None:
    check_engines(build(make, 6, 7), 6, (2, 0, 5, 1, 9, 3), reverse=True)


@pytest.mark.parametrize("make", [*REGISTERED, *USERS])
def test_both_directions(make: Make) -> None:
    check_engines(build(make, 5, 17), 5, (4, 1, 0, 8, 2), bidirectional=True)


@pytest.mark.parametrize("make", [*REGISTERED, STACKED])
def test_step(make: Make) -> None:
    """One call a step, from a given state, is the native engine's whole sequence."""
    layer: Any = Recurrent(build(make, 4, 5), engine="native")
    start = random_state(layer.cell.initial_state(3))
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4)
    output, final = layer(x, start)
    state = start
    for t in range(6):
        state = layer.step(x[:, t], state)
        torch.testing.assert_close(flatten(state)[0], output[:, t], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(flatten(state), flatten(final), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", REGISTERED)
def test_large_inputs(make: Make) -> None:
    """Inputs of ±50, matrices three times the usual: pre-activations of hundreds; all finite, as in float64.

    ±2 where five products follow each other, each with the rounding of the one before.
    """
    layer = Recurrent(build(make, 4, 5), engine="native")
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(3.0 if p.dim() == 2 else 1.0)
    x = ragged(4, (30, 1, 0, 17))
    size = 2.0 if isinstance(layer.cell, cells.MogrifierLSTMCell) else 50.0
    x = x.with_values(size * x.values.sign())
    state = layer.cell.initial_state(len(x))
    got = everything(layer, x, state)
    assert all(value.isfinite().all() for value in got.values())
    plain = copy.deepcopy(layer)
    plain.engine = "eager"
    assert_near(got, everything(plain, x, state, torch.float64))


@pytest.mark.parametrize("hidden_size", [1, 3, 15, 16, 17, 33, 64])
@pytest.mark.parametrize(
    "make",
    [
        p
        for p in [*REGISTERED, *USERS]
        if p.id
        in (
            "rnn",
            "gru",
            "lstm",
            *"""
    PeepholeLSTM LayerNormLSTM LayerNormGRU GRU2014 Softmax Prelude ThreeStates""".split(),
        )
    ],
)
def test_widths_around_the_vector(make: Make, hidden_size: int) -> None:
    check_engines(build(make, 19, hidden_size), 19, (2, 6, 1, 0, 4))


@pytest.mark.parametrize("input_size", [1, 2, 31, 32, 33])
def test_input_widths(input_size: int) -> None:
    check_engines(build(cells.GRUCell, input_size, 6), input_size, (2, 6, 1, 0, 4))


@pytest.mark.parametrize(
    "lengths", [(), (0,), (0, 0), (1,), (1, 1, 1), (40,), (25, 0), tuple(range(20))], ids=str
)
def test_batches(lengths: tuple[int, ...]) -> None:
    check_engines(build(cells.LSTMCell, 3, 6), 3, lengths, bidirectional=True)


@pytest.mark.parametrize("engine", ["native", "auto"])
def test_a_cell_without_a_native_form_raises_or_says_why(engine: str) -> None:
    class Cummax(CELLS[7]):  # type: ignore[name-defined, misc]
        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return super().forward(x, h).cummax(dim=1).values

    layer = Recurrent(Cummax(3, 4), engine=engine)
    x = ragged(3, (2, 1))
    if engine == "auto":
        assert unspool.explain_path(layer, x).startswith("eager: Cummax uses the operation 'aten.cummax'")
        assert torch.equal(layer(x)[0].values, Recurrent(layer.cell, engine="eager")(x)[0].values)
    else:
        with pytest.raises(EngineError, match=r"Cummax uses the operation 'aten\.cummax'"):
            layer(x)
