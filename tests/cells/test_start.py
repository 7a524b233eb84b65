"""How cells start: states, weights, biases of gates by name; how many parameters they have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import cells
from unspool.errors import InvalidParameterError
from unspool.nn import Recurrent

F, H, B = 4, 5, 3
MAKE: dict[str, Callable[..., Any]] = dict(cells.registry)
FEW = ("log_period", "shift", "bias_if")  # that start otherwise, or are too few to come near a bound
GATES = [(name, gate) for name, make in MAKE.items() for gate in make(1, 1).gates]


def biases(cell: Any) -> dict[str, Tensor]:
    """The sum of the biases of each gate."""
    named = dict(cell.named_parameters())
    total = sum(named[name] for name in ("bias", "bias_ih", "bias_hh") if name in named)
    assert isinstance(total, Tensor)
    return dict(zip(cell.gates, total.detach().chunk(len(cell.gates)), strict=True))


@pytest.mark.parametrize("name", MAKE)
def test_states(name: str) -> None:
    cell = MAKE[name](F, H)
    state = cell.initial_state(B)
    parts = state if isinstance(state, tuple) else (state,)
    assert [tuple(p.shape) for p in parts] == [(B, width) for width in cell.state_sizes]
    assert len(cell.state_names) == len(parts)
    assert {part for part, p in zip(cell.state_names, parts) if p.any()} == (
        {"m"} if name in ("slstm", "mlstm") else set()
    )
    new = cell(torch.randn(B, F), state)
    assert isinstance(new, tuple) == isinstance(state, tuple)
    assert cell.double().initial_state(1)[0].dtype == torch.float64


@pytest.mark.parametrize("name", MAKE)
def test_weights(name: str) -> None:
    """Glorot's bound, W_hhᵀ W_hh = 1 for the matrix as a whole, forget gates 1, other biases 0, gains 1."""
    torch.manual_seed(0)
    cell = MAKE[name](40, 30)
    bound = math.sqrt(6 / (40 + len(cell.gates) * 30))
    assert 0.95 * bound < cell.weight_ih.abs().max() <= bound
    if name == "ind_rnn":
        assert 0 <= cell.weight_hh.min() < 0.1 and 0.9 < cell.weight_hh.max() <= 1
    elif name not in ("min_gru", "min_lstm", "mlstm"):
        torch.testing.assert_close(cell.weight_hh.T @ cell.weight_hh, torch.eye(30), rtol=0, atol=1e-5)
    opened = "f" if "lstm" in name else ""
    for gate, bias in biases(cell).items():
        assert (bias == (gate == opened)).all()
    for key, p in cell.named_parameters():
        if key.startswith(("gain", "peephole")):
            assert (p == key.startswith("gain")).all()


@pytest.mark.parametrize("name", MAKE)
def test_uniform(name: str) -> None:
    """torch's start, as an option and as a scheme; gains stay 1, IndRNN's recurrent weights in [0, 1]."""
    torch.manual_seed(0)
    for cell in (MAKE[name](40, 30, init="uniform"), MAKE[name](40, 30)):
        if cell.init == "orthogonal":
            cell.reset_parameters("uniform")
        for key, p in cell.named_parameters():
            if key.startswith("gain"):
                assert (p == 1).all()
            elif (name, key) != ("ind_rnn", "weight_hh") and key not in FEW:
                assert 0.8 * 30**-0.5 < p.abs().max() <= 30**-0.5


@pytest.mark.parametrize("init", ["orthogonal", "uniform"])
@pytest.mark.parametrize("name, gate", GATES)
def test_gate_bias(name: str, gate: str, init: str) -> None:
    torch.manual_seed(0)
    plain = biases(MAKE[name](F, H, init=init))
    torch.manual_seed(0)
    given = biases(MAKE[name](F, H, init=init, gate_bias={gate: -2.5}))
    assert given.keys() == plain.keys()
    for key, bias in given.items():
        assert torch.equal(bias, torch.full((H,), -2.5) if key == gate else plain[key])


def test_the_second_direction_starts_alike() -> None:
    layer: Any = Recurrent(cells.LSTMCell(F, H, init="uniform", gate_bias={"f": 3.0}), bidirectional=True)
    assert not torch.equal(layer.cell.weight_ih, layer.reverse_cell.weight_ih)
    assert layer.reverse_cell.weight_ih.abs().max() <= H**-0.5
    assert (biases(layer.reverse_cell)["f"] == 3).all()


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"gate_bias": {"F": 1.0}},
            r"'gate_bias' parameter of LSTMCell must be one of \['i', 'f', 'g', 'o'\]",
        ),
        ({"gate_bias": {"f": math.nan}}, r"'gate_bias' parameter of LSTMCell must be a number"),
        ({"gate_bias": {"f": 1.0}, "bias": False}, "left out: the cell has no biases"),
        ({"init": "ortogonal"}, "Did you mean 'orthogonal'"),
    ],
    ids=str,
)
def test_a_start_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        cells.LSTMCell(F, H, **options)
    with pytest.raises(InvalidParameterError, match="'scheme' parameter of GRUCell"):
        cells.GRUCell(F, H).reset_parameters("zeros")


def size(cell: nn.Module) -> int:
    return sum(p.numel() for p in cell.parameters())


@pytest.mark.parametrize("name", MAKE)
def test_parameter_formulas(name: str) -> None:
    make: Any = MAKE[name]
    for sizes in ((1, 1), (4, 5), (100, 64)):
        assert size(make(*sizes)) == eval(make.parameter_formula, {"F": sizes[0], "H": sizes[1]})


@pytest.mark.parametrize("input_size, hidden_size", [(1, 1), (4, 5), (100, 64)])
def test_parameter_counts(input_size: int, hidden_size: int) -> None:
    """gates · H · (F + H + 2), with 1, 3 and 4 gates; without biases gates · H · (F + H): RNN < GRU < LSTM."""
    counts = []
    for name, gates in (("rnn", 1), ("gru", 3), ("lstm", 4)):
        for bias in (True, False):
            count = size(MAKE[name](input_size, hidden_size, bias=bias))
            assert count == gates * hidden_size * (input_size + hidden_size + 2 * bias)
            counts.append(count)
    assert counts[0] < counts[2] < counts[4]
    mgu, coupled, lstm = (size(MAKE[n](input_size, hidden_size)) for n in ("mgu", "coupled_lstm", "lstm"))
    assert counts[0] < mgu < coupled < lstm
