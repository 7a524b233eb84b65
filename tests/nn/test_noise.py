"""Dropout, recurrent dropout, zoneout and weight dropout: against loops with the same masks, and by hand."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from engine.compare import random_state
from engine.user_cells import CELLS, CoupledLSTM, Nested, Prelude, UserCell
from torch import Tensor, nn
from torch.nn import functional as F

from unspool import Ragged, cells, explain_path
from unspool.engine.dispatch import Direction
from unspool.errors import DataError, InvalidParameterError
from unspool.nn import Recurrent, Stack
from unspool.nn.masking import find_drops
from unspool.nn.products import find_products
from unspool.state import flatten

ENGINES = pytest.mark.parametrize("engine", ["native", "eager"])
LENGTHS = (3, 1, 0, 6, 4)
ALL: dict[str, Any] = {"input_dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.2, "weight_dropout": 0.3}
OPTIONS = [*({name: rate} for name, rate in ALL.items()), ALL]


class Affine(UserCell):
    """h' = a h + b (h W') + x, W = 1: what is carried on beside what is multiplied by weights."""

    def __init__(self, size: int, a: float, b: float) -> None:
        super().__init__()
        self.sizes, self.a, self.b = size, a, b
        self.weight_hh = nn.Parameter(torch.eye(size))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.a * h + F.linear(self.b * h, self.weight_hh) + x


def ragged(width: int, lengths: tuple[int, ...] = LENGTHS, dtype: torch.dtype = torch.float32) -> Ragged:
    torch.manual_seed(1)
    return Ragged.from_list([torch.randn(n, width, dtype=dtype) for n in lengths])


def multiplies_its_state(make: Any) -> bool:
    return bool(find_products(make(4, 5), 4).recurrent)


def results(layer: Any, x: Ragged, seed: int) -> list[Tensor]:
    layer.zero_grad()
    values = x.values.clone().requires_grad_()
    start = random_state(layer.initial_state(len(x)))
    torch.manual_seed(seed)
    output, state = layer(Ragged(values, x.offsets), start)
    total = output.values.cos().sum() + sum(leaf.square().sum() for leaf in flatten(state))
    total.backward()
    grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in (values, *layer.parameters())]
    return [output.values, *flatten(state), *grads]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "all" if len(o) > 1 else next(iter(o)))
@pytest.mark.parametrize("make", [*cells.registry.values(), *CELLS], ids=lambda make: make.__name__)
def test_native_is_the_plain_loop_with_the_same_masks(make: Any, options: dict[str, Any]) -> None:
    """Outputs, final states and every gradient, for every cell whose step has what the option needs."""
    torch.manual_seed(0)
    cell, x = make(4, 5), ragged(4)
    if {"recurrent_dropout", "weight_dropout"} & options.keys() and not multiplies_its_state(make):
        with pytest.raises(InvalidParameterError, match="multiplies no part of its state by a weight matrix"):
            Recurrent(cell, **options)(x)
        return
    layer = Recurrent(cell, bidirectional=True, engine="native", **options)
    assert explain_path(layer, x) == "native"
    plain = copy.deepcopy(layer)
    plain.engine = "eager"
    fast, slow, exact = results(layer, x, 3), results(plain, x, 3), results(layer.eval(), x, 3)
    for got, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    deaf = make.__name__ in ("Deaf", "Switched") and "input_dropout" in options
    assert deaf or not torch.allclose(fast[0], exact[0])


def lstm_by_hand(cell: Any, x: Tensor, m: Tensor, z_h: Tensor, z_c: Tensor) -> Tensor:
    """(T, F) -> (T, 4) by the equations of `cells.lstm`, with m on h where a matrix multiplies it, and z that keeps."""
    h, c, outputs = x.new_zeros(4), x.new_zeros(4), []
    for t in range(len(x)):
        gates = cell.weight_ih @ x[t] + cell.bias_ih + cell.weight_hh @ (m * h) + cell.bias_hh
        i, f, g, o = gates.split(len(h))
        c_new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h_new = o.sigmoid() * c_new.tanh()
        h, c = z_h[t] * h + (1 - z_h[t]) * h_new, z_c[t] * c + (1 - z_c[t]) * c_new
        outputs.append(h)
    return torch.stack(outputs) if outputs else x.new_zeros(0, 4)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_lstm_against_its_equations_with_the_masks_in_them(reverse: bool) -> None:
    """Drawn in this order: a mask of the input, kept units of h and of c for each token, a mask of h."""
    torch.manual_seed(0)
    cell, x = cells.LSTMCell(3, 4).double(), ragged(3, dtype=torch.float64)
    options: dict[str, Any] = {"input_dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": (0.1, 0.5)}
    layer = Recurrent(cell, reverse=reverse, engine="eager", **options)
    torch.manual_seed(5)
    output, _ = layer(x)
    torch.manual_seed(5)
    batch, tokens = len(x), len(x.values)
    on_x = F.dropout(torch.ones(batch, 3, dtype=torch.float64), 0.3)
    kept = [torch.empty(tokens, 4, dtype=torch.float64).bernoulli_(rate) for rate in (0.1, 0.5)]
    on_h = F.dropout(torch.ones(batch, 4, dtype=torch.float64), 0.4)
    for i, steps in enumerate(x.to_list()):
        rows = slice(int(x.offsets[i]), int(x.offsets[i + 1]))
        turn = (lambda t: t.flip(0)) if reverse else (lambda t: t)
        expected = lstm_by_hand(
            cell, turn(steps * on_x[i]), on_h[i], turn(kept[0][rows]), turn(kept[1][rows])
        )
        torch.testing.assert_close(turn(output[i]), expected, rtol=1e-12, atol=1e-12)
    single = copy.deepcopy(layer).float()
    single.engine = "native"
    assert single(x.to(torch.float32))[0].values.shape == output.values.shape


@ENGINES
def test_recurrent_dropout_acts_where_weights_multiply_the_state(engine: str) -> None:
    """h' = h W' + x with x = 1, W = 1, p = 1/2: 1, m + 1, m (m + 1) + 1 = 1, 1, 1 for m = 0 and 1, 3, 7 for m = 2."""
    torch.manual_seed(0)
    x = Ragged(torch.ones(3 * 200, 50), torch.arange(201) * 3)
    output, state = Recurrent(Affine(50, 0.0, 1.0), recurrent_dropout=0.5, engine=engine)(x)
    runs = output.values.view(200, 3, 50)
    dropped = runs[:, 1] == 1
    assert torch.equal(runs[dropped.unsqueeze(1).expand_as(runs)].unique(), torch.tensor([1.0]))
    for step, expected in enumerate((1.0, 3.0, 7.0)):
        assert (runs[:, step][~dropped] == expected).all()
    assert abs(float(dropped.float().mean()) - 0.5) < 0.02  # 10,000 draws: deviation 0.005
    assert float(dropped.float().mean(1).min()) > 0.3 and float(dropped.float().mean(0).max()) < 0.7
    assert torch.equal(state, runs[:, 2])


@ENGINES
def test_recurrent_dropout_leaves_what_is_carried_on(engine: str) -> None:
    """h' = h / 2 + 0 (h W') + x: no product counts, so nothing changes; with 0.25 h W' beside it m scales that."""
    x = ragged(6)
    layer = Recurrent(Affine(6, 0.5, 0.0), recurrent_dropout=0.5, engine=engine)
    torch.testing.assert_close(layer(x)[0].values, copy.deepcopy(layer).eval()(x)[0].values)
    layer = Recurrent(Affine(6, 0.5, 0.25), recurrent_dropout=0.5, engine=engine)
    ones = Ragged(torch.ones(3 * 40, 6), torch.arange(41) * 3)
    last = layer(ones)[1]  # factor f = 1/2 or 1/2 + 2/4 = 1: 1 + f + f² = 1.75 or 3
    assert last.unique().tolist() == [1.75, 3.0]


@ENGINES
def test_zoneout_keeps_units_of_a_step(engine: str) -> None:
    """state + x with x = 1: in training the steps not kept are counted; in evaluation each adds 1 - rate."""
    torch.manual_seed(0)
    layer = Recurrent(Affine(8, 1.0, 0.0), zoneout=0.3, engine=engine)
    x = Ragged(torch.ones(50 * 40, 8), torch.arange(41) * 50)
    output, state = layer(x)
    steps = torch.diff(output.values.view(40, 50, 8), dim=1)
    assert steps.unique().tolist() == [0.0, 1.0]
    assert abs(float((steps == 0).float().mean()) - 0.3) < 0.015  # 15,680 draws: deviation 0.0037
    assert len(steps.flatten(1).unique(dim=0)) == 40
    final = layer.eval()(x)[1]
    torch.testing.assert_close(final, torch.full((40, 8), 0.7 * 50))
    torch.testing.assert_close(state.mean(), final.mean(), rtol=0.02, atol=0)


@ENGINES
def test_zoneout_has_a_rate_for_each_part(engine: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.LSTMCell(3, 4), zoneout=(0.0, 0.25), engine=engine).eval()
    x = torch.randn(2, 1, 3)
    plain = Recurrent(layer.cell, engine=engine)
    start = (torch.randn(2, 4), torch.randn(2, 4))
    (h, c), (h_plain, c_plain) = layer(x, start)[1], plain(x, start)[1]
    torch.testing.assert_close(h, h_plain)
    torch.testing.assert_close(c, 0.25 * start[1] + 0.75 * c_plain)
    nested = Recurrent(Nested(3, 4), zoneout=0.5, engine=engine)
    assert len(flatten(nested(x)[1])) == len(flatten(nested.initial_state(2)))


@ENGINES
def test_weight_dropout_draws_once_a_call(engine: str) -> None:
    """h' = h W' + x, one unit, W = 1, p = 1/2: within a call all sequences grow as 1, 1, 1 or all as 1, 3, 7."""
    layer = Recurrent(Affine(1, 0.0, 1.0), weight_dropout=0.5, engine=engine)
    x = Ragged(torch.ones(3 * 20, 1), torch.arange(21) * 3)
    torch.manual_seed(0)
    seen = [tuple(layer(x)[1].unique().tolist()) for _ in range(40)]
    assert set(seen) == {(1.0,), (7.0,)} and 8 < seen.count((1.0,)) < 32
    layer.zero_grad()
    torch.manual_seed(0)
    layer(x)[1].sum().backward()  # 1 + m w + m² w²: m + 2 m² w = 10 for m = 2, 0 for m = 0, in each of 20
    assert layer.cell.weight_hh.grad.item() == (200.0 if seen[0] == (7.0,) else 0.0)


def dropped(cell: Any) -> dict[Any, Tensor]:
    """The entries under weight dropout, by the name of their parameter; "computed" for what a cell makes of them."""
    found = find_products(cell, 4)
    named = [(found.program.sources[d.source], d.entries) for d in find_drops(found, Direction(cell).weight)]
    return {getattr(source, "name", "computed"): entries for source, entries in named}


def test_weight_dropout_knows_the_entries_that_multiply_the_state() -> None:
    """Also in a matrix over [x | h]. A matrix computed from a parameter, w - w', loses entries of its own."""
    expected = torch.zeros(15, 9, dtype=torch.bool)
    expected[:, 4:] = True
    assert find_products(CoupledLSTM(4, 5), 4).parts == [0]
    assert torch.equal(dropped(CoupledLSTM(4, 5))["gates.weight"], expected)
    assert torch.equal(dropped(Prelude(4, 5))["computed"], torch.ones(5, 5, dtype=torch.bool))
    assert list(dropped(cells.LSTMCell(4, 5, proj_size=2))) == ["weight_hh"]
    found = dropped(cells.GRUCell(4, 5, reset_after=False))
    assert list(found) == ["weight_hh"] and found["weight_hh"].all()


@ENGINES
def test_weight_dropout_leaves_what_multiplies_the_input(engine: str) -> None:
    """From a state of zeros, the first step is the plain one, also where one matrix multiplies both."""
    torch.manual_seed(0)
    layer = Recurrent(CoupledLSTM(4, 5), weight_dropout=0.5, engine=engine)
    x = torch.randn(3, 2, 4)
    noisy, plain = layer(x)[0], copy.deepcopy(layer).eval()(x)[0]
    torch.testing.assert_close(noisy[:, 0], plain[:, 0])
    assert not torch.allclose(noisy[:, 1], plain[:, 1])


@ENGINES
def test_input_dropout_has_one_mask_a_sequence(engine: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(Affine(60, 0.0, 0.0), input_dropout=0.25, engine=engine)
    x = Ragged(torch.ones(4 * 50, 60), torch.arange(51) * 4)
    runs = layer(x)[0].values.view(50, 4, 60)
    assert torch.equal(runs, runs[:, :1].expand_as(runs))
    torch.testing.assert_close(runs.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(float((runs[:, 0] == 0).float().mean()) - 0.25) < 0.03  # 3,000 draws: deviation 0.008


def test_input_dropout_of_each_layer_of_a_stack() -> None:
    def hold(width: int, _: int) -> Affine:
        return Affine(width, 0.0, 0.0)

    torch.manual_seed(0)
    stack = Stack(hold, 60, 60, 2, input_dropout=(0.0, 0.5))
    assert [layer.noise.input_dropout for layer in stack.layers] == [0.0, 0.5]
    assert (stack.layers[0](Ragged(torch.ones(4, 60), [0, 4]))[0].values == 1).all()
    assert set(stack(Ragged(torch.ones(4, 60), [0, 4]))[0].values.unique().tolist()) == {0.0, 2.0}
    with pytest.raises(InvalidParameterError, match="a rate, or one for each of 2 layers"):
        Stack(hold, 60, 60, 2, input_dropout=(0.1,))


@pytest.mark.parametrize("options", OPTIONS[:2] + OPTIONS[3:4])
def test_evaluation_is_the_cell_itself(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, x = Recurrent(cells.GRUCell(3, 4), **options).eval(), ragged(3)
    assert torch.equal(layer(x)[0].values, Recurrent(layer.cell)(x)[0].values)
    expected = layer.cell(x.values, torch.zeros(len(x.values), 4))
    torch.testing.assert_close(layer.step(x.values, None), expected, rtol=1e-5, atol=1e-6)


@ENGINES
def test_steps_with_zoneout_are_the_sequence(engine: str) -> None:
    layer = Recurrent(cells.LSTMCell(3, 4), zoneout=(0.1, 0.5), engine=engine)
    x, state = torch.randn(4, 6, 3), None
    with pytest.raises(DataError, match="Call eval"):
        layer.step(x[:, 0])
    layer.eval()
    output, final = layer(x)
    for t in range(6):
        state = layer.step(x[:, t], state)
        torch.testing.assert_close(state[0], output[:, t], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state, final, rtol=1e-5, atol=1e-6)


def test_names_copies_and_pickles() -> None:
    layer, x = Recurrent(cells.LSTMCell(3, 4), bidirectional=True, **ALL), ragged(3)
    plain = Recurrent(cells.LSTMCell(3, 4), bidirectional=True)
    assert list(layer.state_dict()) == list(plain.state_dict())
    layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for p in twin.parameters():
            p.data.mul_(0.5)
        assert not torch.equal(results(twin, x, 0)[0], results(layer, x, 0)[0])
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(results(twin, x, 0)[0], results(layer, x, 0)[0])
    layer.cell = cells.LSTMCell(3, 4)
    fresh = Recurrent(layer.cell, bidirectional=True, reverse_cell=layer.reverse_cell, **ALL)
    assert torch.equal(results(layer, x, 0)[0], results(fresh, x, 0)[0])
    torch.manual_seed(0)
    layer.explain_path(x)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after)


def test_compiled_in_one_graph() -> None:
    """With rates so small that nothing is dropped, the numbers and gradients are the plain call's."""
    torch.manual_seed(0)
    layer = Recurrent(cells.GRUCell(5, 4), bidirectional=True, **dict.fromkeys(ALL, 1e-09))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 7, 5)
    found = []
    for run in (layer, compiled):
        layer.zero_grad()
        output = run(x)[0]
        output.square().sum().backward()
        found.append([output.detach(), *(p.grad.clone() for p in layer.parameters())])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    noisy = Recurrent(cells.LSTMCell(5, 4), **ALL)
    compiled = torch.compile(noisy, fullgraph=True, backend="aot_eager")
    assert not torch.equal(compiled(x)[0], compiled(x)[0])


def test_a_stack_passes_the_options_on() -> None:
    torch.manual_seed(0)
    stack = Stack("lstm", 3, 4, num_layers=2, bidirectional=True, engine="native", **ALL)
    x = ragged(3)
    assert explain_path(stack, x) == "native"
    assert not torch.equal(stack(x)[0].values, stack(x)[0].values)
    eager = Stack("lstm", 3, 4, num_layers=2, bidirectional=True, engine="eager", **ALL)
    eager.load_state_dict(stack.state_dict())
    outputs = []
    for each in (stack, eager):
        torch.manual_seed(2)
        outputs.append(each(x)[0].values)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.3}, {"weight_dropout": 0.3}, ALL])
def test_embedded_with_noise_is_embedding_first(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    stack, embedding = Stack("gru", 3, 4, engine="native", **options), nn.Embedding(7, 3)
    ids = Ragged(torch.tensor([3, 3, 0, 1, 6, 3, 5, 2, 5]), [0, 6, 6, 9])
    found = []
    for embedded in (True, False):
        embedding.zero_grad()
        torch.manual_seed(4)
        output, _ = (
            stack.embedded(ids, embedding) if embedded else stack(ids.with_values(embedding(ids.values)))
        )
        output.values.square().sum().backward()
        found.append((output.values, embedding.weight.grad.clone()))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


class TestErrors:
    @pytest.mark.parametrize("name", list(ALL))
    @pytest.mark.parametrize("rate", [1.0, -0.1, "half", True])
    def test_rates(self, name: str, rate: Any) -> None:
        with pytest.raises(InvalidParameterError, match=rf"'{name}' .* a number in \[0, 1\)"):
            Recurrent(cells.GRUCell(3, 4), **{name: rate})

    def test_zoneout_for_another_number_of_parts(self) -> None:
        with pytest.raises(InvalidParameterError, match="a number, or 2 numbers"):
            Recurrent(cells.LSTMCell(3, 4), zoneout=(0.1, 0.2, 0.3))

    def test_a_step_without_a_product(self) -> None:
        class Decay(UserCell):
            sizes = 3

            def forward(self, x: Tensor, h: Tensor) -> Tensor:
                return 0.5 * h + x

        with pytest.raises(InvalidParameterError, match="0 for Decay, whose step multiplies no part"):
            Recurrent(Decay(), recurrent_dropout=0.5)(ragged(3))
