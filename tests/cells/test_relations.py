"""What cells have in common: settings and weights with which one is another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells
from unspool.nn import Recurrent, Stack
from unspool.state import flatten

F, H, B, T = 4, 5, 3, 6


def random_weights(cell: nn.Module, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    for p in cell.double().parameters():
        nn.init.normal_(p, 0.0, 0.6)
    return cell


def copy_into(cell: nn.Module, **weights: Tensor | None) -> Any:
    """`cell` in float64 with these weights; the others are 0."""
    cell.double()
    with torch.no_grad():
        for name, p in cell.named_parameters():
            given = weights.get(name)
            p.copy_(torch.zeros_like(p) if given is None else given)
    return cell


def run(cell: nn.Module) -> list[Tensor]:
    """All outputs, and the parts of the final state, of six steps from a random h and zeros elsewhere."""
    torch.manual_seed(1)
    x, h = torch.randn(B, T, F, dtype=torch.float64), torch.randn(B, H, dtype=torch.float64)
    layer: Any = Recurrent(cell)
    state = layer.cell.initial_state(B)
    output, final = layer(x, (h, *state[1:]) if isinstance(state, tuple) else h)
    return [output, *flatten(final)]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(run(one), run(other), rtol=1e-12, atol=1e-12)


def test_no_peepholes_are_an_lstm() -> None:
    lstm = random_weights(cells.LSTMCell(F, H))
    bare = cells.PeepholeLSTMCell(F, H, peepholes="").double()
    bare.load_state_dict(lstm.state_dict())
    assert_same(bare, lstm)
    assert_same(copy_into(cells.PeepholeLSTMCell(F, H), **lstm.state_dict()), lstm)
    torch.manual_seed(3)
    fresh = cells.PeepholeLSTMCell(F, H).double()
    assert_same(fresh, copy_into(cells.LSTMCell(F, H), **fresh.state_dict()))


def test_coupled_gates_are_an_lstm_with_tied_gates() -> None:
    """σ(-a) = 1 - σ(a): the input gate has the forget gate's weights, negated."""
    coupled = random_weights(cells.CoupledLSTMCell(F, H))

    def tied(weight: Tensor) -> Tensor:
        f, g, o = weight.chunk(3)
        return torch.cat([-f, f, g, o])

    weights = {
        "weight_ih": tied(coupled.weight_ih),
        "weight_hh": tied(coupled.weight_hh),
        "bias_ih": tied(coupled.bias),
    }
    assert_same(coupled, copy_into(cells.LSTMCell(F, H), **weights))


def test_minimal_gated_unit_is_a_gru_with_tied_gates() -> None:
    """The GRU of 2014 with r = f and z = 1 - f."""
    mgu = random_weights(cells.MGUCell(F, H))

    def tied(weight: Tensor) -> Tensor:
        f, n = weight.chunk(2)
        return torch.cat([f, -f, n])

    weights = {"weight_ih": tied(mgu.weight_ih), "weight_hh": tied(mgu.weight_hh), "bias_ih": tied(mgu.bias)}
    assert_same(mgu, copy_into(cells.GRUCell(F, H, reset_after=False), **weights))


def test_min_gru_is_a_gru_that_does_not_look_back() -> None:
    """A GRU without recurrent weights, with a linear candidate; its z keeps the old state."""
    small = random_weights(cells.MinGRUCell(F, H))

    def wide(weight: Tensor) -> Tensor:
        z, n = weight.chunk(2)
        return torch.cat([torch.zeros_like(z), -z, n])

    weights = {"weight_ih": wide(small.weight_ih), "bias_ih": wide(small.bias)}
    assert_same(small, copy_into(cells.GRUCell(F, H, activation="linear"), **weights))


def test_min_lstm_with_equal_gates_is_a_min_gru_that_halves() -> None:
    lstm = random_weights(cells.MinLSTMCell(F, H))
    with torch.no_grad():
        for p in (lstm.weight_ih, lstm.bias):
            p[:H] = p[H : 2 * H]
    weights = {
        "weight_ih": torch.cat([torch.zeros(H, F, dtype=torch.float64), lstm.weight_ih[2 * H :]]),
        "bias": torch.cat([torch.zeros(H, dtype=torch.float64), lstm.bias[2 * H :]]),
    }
    assert_same(lstm, copy_into(cells.MinGRUCell(F, H), **weights))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_ind_rnn_is_an_rnn_with_a_diagonal(nonlinearity: str) -> None:
    ind = random_weights(cells.IndRNNCell(F, H, nonlinearity=nonlinearity))
    rnn = cells.RNNCell(F, H, nonlinearity=nonlinearity)
    assert_same(
        ind, copy_into(rnn, weight_ih=ind.weight_ih, weight_hh=torch.diag(ind.weight_hh), bias_ih=ind.bias)
    )


def test_leak_1_is_an_rnn() -> None:
    leaky = random_weights(cells.LeakyRNNCell(F, H, leak=1.0))
    rnn = copy_into(
        cells.RNNCell(F, H), weight_ih=leaky.weight_ih, weight_hh=leaky.weight_hh, bias_ih=leaky.bias
    )
    assert_same(leaky, rnn)


def test_a_learned_leak_starts_at_the_given_one() -> None:
    torch.manual_seed(0)
    learned = cells.LeakyRNNCell(F, H, leak=0.2, learn_leak=True).double()
    fixed = copy_into(cells.LeakyRNNCell(F, H, leak=0.2), **learned.state_dict())
    torch.testing.assert_close(
        run(learned), run(fixed), rtol=1e-6, atol=1e-6
    )  # the logit was made in float32


@pytest.mark.parametrize(
    "name, scaled",
    [
        ("layer_norm_rnn", [("weight_ih", slice(0, H)), ("weight_hh", slice(0, H))]),
        ("layer_norm_gru", [("weight_ih", slice(0, 2 * H))]),
        ("layer_norm_gru", [("weight_hh", slice(2 * H, 3 * H))]),
        ("layer_norm_lstm", [("weight_ih", slice(0, 4 * H))]),
        ("layer_norm_lstm", [("weight_hh", slice(0, 4 * H))]),
    ],
    ids=str,
)
def test_what_is_normalised_together_may_be_scaled(name: str, scaled: list[tuple[str, slice]]) -> None:
    """Ba et al. 2016, section 5.1; seen only where those rows and no others share a mean and a variance."""
    cell = random_weights(cells.get(name)(F, H, eps=1e-12))
    other = random_weights(cells.get(name)(F, H, eps=1e-12))
    with torch.no_grad():
        for weight, rows in scaled:
            getattr(other, weight)[rows] *= 3.0
    torch.testing.assert_close(run(cell), run(other), rtol=1e-8, atol=1e-8)
    with torch.no_grad():
        other.get_parameter(scaled[0][0])[:1] *= 3.0
        other.get_parameter(scaled[0][0])[-1:] *= 3.0
    assert (run(cell)[0] - run(other)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_stacked_cells_are_a_stack_of_layers(engine: str) -> None:
    torch.manual_seed(0)
    x = Ragged.from_list([torch.randn(n, F) for n in (4, 0, 1, 7)])
    stack: Any = Stack("lstm", F, H, num_layers=3, engine=engine)
    layer: Any = Recurrent(cells.StackedCell([part.cell for part in stack.layers]), engine=engine)
    expected, states = stack(x)
    output, final = layer(x)
    torch.testing.assert_close(output.values, expected.values, rtol=1e-5, atol=1e-6)
    for got, (state,) in zip(reversed(final), states, strict=True):
        torch.testing.assert_close(got, state, rtol=1e-5, atol=1e-6)


class Memory(nn.Module):
    """A user's cell: the state is (output, (memory of another width,))."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.widths = (hidden_size, hidden_size + 3)
        self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.down, self.up = nn.Linear(hidden_size, self.widths[1]), nn.Linear(self.widths[1], hidden_size)

    def initial_state(self, batch_size: int) -> tuple:
        return torch.zeros(batch_size, self.widths[0]), (torch.ones(batch_size, self.widths[1]),)

    def forward(self, x: Tensor, state: tuple) -> tuple:
        h, (memory,) = state
        new = torch.tanh(self.x(x) + self.h(h) + self.up(memory))
        return new, (0.9 * memory + torch.sigmoid(self.down(new)),)


def test_stacked_cells_of_users_and_of_stacks() -> None:
    """Widths 4 -> 6 -> 3 -> 2 -> 2, a user's nested state, a stack in a stack; as one layer after the other."""
    torch.manual_seed(0)
    parts: list[Any] = [
        cells.GRUCell(F, 6),
        Memory(6, 3),
        cells.StackedCell([Memory(3, 2), cells.LSTMCell(2, 2)]),
    ]
    cell = cells.StackedCell(parts)
    widths = [leaf.shape[1] for leaf in flatten(cell.initial_state(1))]
    assert widths == [2, 2, 2, 5, 3, 6, 6]
    x = Ragged.from_list([torch.randn(n, F) for n in (4, 0, 1, 7)])
    output, final = Recurrent(cell, engine="native")(x)
    for part, got in zip(parts, reversed(final), strict=True):
        x, expected = Recurrent(part, engine="eager")(x)
        torch.testing.assert_close(flatten(got), flatten(expected), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.values, x.values, rtol=1e-5, atol=1e-6)
