"""Recurrent and Stack: any cell over time, states in and out, steps, chunks, embeddings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells, explain_path
from unspool.errors import DataError, EngineError, InvalidParameterError
from unspool.nn import LSTM, Recurrent, Stack, detach, final_output
from unspool.state import flatten

F, H = 3, 5


class Sum(nn.Module):
    """state' = state + x: every number can be worked out in the head."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return state + x


class Count(nn.Module):
    """(output, steps): output = x · steps so far."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(batch_size, 1), torch.ones(batch_size, 1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return x * state[1], state[1] + 1


ENGINES = pytest.mark.parametrize("engine", ["native", "eager"])
NUMBERS = Ragged.from_list([torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(0, 1), torch.tensor([[10.0]])])


@ENGINES
def test_running_sum(engine: str) -> None:
    output, state = Recurrent(Sum(), engine=engine)(NUMBERS)
    assert output.values[:, 0].tolist() == [1, 3, 6, 10]
    assert state[:, 0].tolist() == [6, 0, 10]
    output, state = Recurrent(Sum(), reverse=True, engine=engine)(NUMBERS)
    assert output.values[:, 0].tolist() == [6, 5, 3, 10]  # 3, 3+2, 3+2+1 from the end
    assert state[:, 0].tolist() == [6, 0, 10]


@ENGINES
def test_both_directions_side_by_side(engine: str) -> None:
    layer = Recurrent(Sum(), bidirectional=True, engine=engine)
    start = torch.tensor([[100.0], [200.0], [300.0]])
    output, (forward, backward) = layer(NUMBERS, (start, -start))
    assert output.values.tolist() == [[101, -94], [103, -95], [106, -97], [310, -290]]
    assert forward[:, 0].tolist() == [106, 200, 310]
    assert backward[:, 0].tolist() == [-94, -200, -290]


@ENGINES
def test_a_state_that_does_not_start_at_zero(engine: str) -> None:
    """x · 1, x · 2, ...: the cell's own initial state counts from 1."""
    output, (last, steps) = Recurrent(Count(), engine=engine)(NUMBERS)
    assert output.values[:, 0].tolist() == [1, 4, 9, 10]
    assert last[:, 0].tolist() == [9, 0, 10]
    assert steps[:, 0].tolist() == [4, 1, 2]


def random_ragged(*lengths: int, width: int = F) -> Ragged:
    torch.manual_seed(1)
    return Ragged.from_list([torch.randn(n, width) for n in lengths])


@ENGINES
@pytest.mark.parametrize("name", cells.names())
def test_steps_are_the_sequence(name: str, engine: str) -> None:
    layer = Recurrent(cells.get(name)(F, H), engine=engine)
    x = torch.randn(4, 6, F)
    output, final = layer(x)
    state = None
    for t in range(6):
        state = layer.step(x[:, t], state)
        torch.testing.assert_close(flatten(state)[0], output[:, t], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(flatten(state), flatten(final), rtol=1e-5, atol=1e-6)


@ENGINES
@pytest.mark.parametrize("name", cells.names())
def test_chunks_with_the_state_carried_are_the_whole(name: str, engine: str) -> None:
    stack = Stack(name, F, H, num_layers=2, engine=engine)
    x = torch.randn(3, 10, F)
    whole, final = stack(x)
    state, parts = None, []
    for chunk in x.split([4, 1, 5], dim=1):
        part, state = stack(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(_leaves(state), _leaves(final), rtol=1e-5, atol=1e-6)


def _leaves(state: Any) -> list[Tensor]:
    return [leaf for layer in state for direction in layer for leaf in flatten(direction)]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_is_torchs_layers(bidirectional: bool) -> None:
    torch.manual_seed(0)
    stack = Stack("lstm", F, H, num_layers=2, bidirectional=bidirectional, engine="native")
    theirs = nn.LSTM(F, H, num_layers=2, bidirectional=bidirectional, batch_first=True)
    copies = {}
    for depth, layer in enumerate(stack.layers):
        for cell, suffix in ((layer.cell, ""), (getattr(layer, "reverse_cell", None), "_reverse")):
            if cell is not None:
                copies |= {f"{name}_l{depth}{suffix}": p for name, p in cell.named_parameters()}
    theirs.load_state_dict(copies)
    x = random_ragged(4, 1, 6)
    output, state = stack(x)
    packed, (h, _) = theirs(x.to_packed())
    torch.testing.assert_close(output.values, Ragged.from_packed(packed).values, rtol=1e-5, atol=1e-6)
    expected = torch.cat(list(h[-2:]), dim=1) if bidirectional else h[-1]
    torch.testing.assert_close(final_output(state), expected, rtol=1e-5, atol=1e-6)
    assert stack.output_size == output.values.shape[1] == (2 * H if bidirectional else H)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", cells.names())
def test_embedded_is_embedding_first(name: str, bidirectional: bool) -> None:
    """Values, final states and every gradient, the embedding's among them; token 4 never occurs."""
    torch.manual_seed(0)
    stack = Stack(name, F, H, num_layers=2, bidirectional=bidirectional, engine="native")
    embedding = nn.Embedding(7, F, padding_idx=0)
    ids = Ragged(torch.tensor([3, 3, 0, 1, 6, 3, 5, 2, 5]), [0, 6, 6, 9])
    results = []
    for embedded in (True, False):
        s, e = copy.deepcopy(stack), copy.deepcopy(embedding)
        output, state = s.embedded(ids, e) if embedded else s(ids.with_values(e(ids.values)))
        (output.values.cos().sum() + final_output(state).square().sum()).backward()
        grads = [p.grad for p in [*s.parameters(), *e.parameters()]]
        results.append([output.values, *_leaves(state), *grads])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert results[0][-1][4].abs().sum() == results[0][-1][0].abs().sum() == 0


@pytest.mark.parametrize(
    "options", [{"scale_grad_by_freq": True}, {"max_norm": 0.5}, {"sparse": True}], ids=str
)
def test_embedding_options(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    stack, embedding = Stack("gru", F, H, engine="native"), nn.Embedding(5, F, **options)
    ids = Ragged.from_list([torch.tensor([1, 1, 1, 2]), torch.tensor([4, 1])])
    grads = []
    for embedded in (True, False):
        e = copy.deepcopy(embedding)
        output, _ = stack.embedded(ids, e) if embedded else stack(ids.with_values(e(ids.values)))
        output.values.square().sum().backward()
        grads.append(e.weight.grad.to_dense())
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


def test_dropout_of_a_stack() -> None:
    torch.manual_seed(0)
    stack, x = Stack("gru", F, H, num_layers=2, dropout=0.5), torch.randn(2, 4, F)
    assert not torch.equal(stack(x)[0], stack(x)[0])
    stack.eval()
    assert torch.equal(stack(x)[0], stack(x)[0])
    zeroed = Stack("rnn", F, H, num_layers=2, dropout=1.0)
    first = zeroed(x)[0]
    assert torch.equal(first, zeroed(2 * x)[0])  # nothing of layer 1 reaches layer 2


def test_the_reverse_cell_has_weights_of_its_own() -> None:
    torch.manual_seed(0)
    layer = Recurrent(cells.LSTMCell(F, H), bidirectional=True)
    assert len(list(layer.parameters())) == 8
    assert not torch.equal(layer.cell.weight_ih, layer.reverse_cell.weight_ih)
    given = cells.GRUCell(F, 2)
    mixed = Recurrent(cells.LSTMCell(F, H), bidirectional=True, reverse_cell=given, engine="native")
    output, state = mixed(random_ragged(2, 3))
    assert output.values.shape == (5, H + 2)
    assert len(flatten(state)) == 3


def test_unbatched() -> None:
    layer = Recurrent(cells.LSTMCell(F, H), bidirectional=True)
    x = torch.randn(6, F)
    output, state = layer(x)
    batched, batched_state = layer(x[None])
    assert torch.equal(output, batched[0])
    assert all(torch.equal(a, b[0]) for a, b in zip(flatten(state), flatten(batched_state)))
    again, _ = layer(x, state)
    assert torch.equal(again, layer(x[None], batched_state)[0][0])


@pytest.mark.parametrize("shape", [(2, 0, F), (0, 4, F), (0, 0, F)])
@pytest.mark.parametrize(
    "layer",
    [
        Recurrent(cells.LSTMCell(F, H), bidirectional=True),
        Recurrent(cells.GRUCell(F, H), engine="eager"),
        Recurrent(cells.GRUCell(F, H), input_dropout=0.2, recurrent_dropout=0.2, zoneout=0.2),
        Stack("gru", F, H, num_layers=2),
    ],
    ids=["both", "eager", "noise", "stack"],
)
def test_a_tensor_without_steps_or_sequences(layer: Any, shape: tuple[int, ...]) -> None:
    """Every sequence is empty and keeps its state."""
    _, given = layer(torch.randn(shape[0], 3, F))
    output, final = layer(torch.zeros(shape), given)
    assert output.shape == (*shape[:2], 2 * H if getattr(layer, "bidirectional", False) else H)
    assert str(detach(final)) == str(detach(given))
    assert layer(torch.zeros(shape))[0].shape == output.shape


def test_unbatched_without_steps() -> None:
    output, state = Recurrent(cells.GRUCell(F, H))(torch.zeros(0, F))
    assert output.shape == (0, H) and torch.equal(state, torch.zeros(H))


class TestErrors:
    def test_not_a_cell(self) -> None:
        with pytest.raises(TypeError, match="must have a method 'initial_state'"):
            Recurrent(nn.Linear(F, H))
        with pytest.raises(TypeError, match=r"not its class\. Got LSTMCell: give LSTMCell\(input_size"):
            Recurrent(cells.LSTMCell)  # type: ignore[arg-type]
        with pytest.raises(InvalidParameterError, match=r"such as its class\. Got LSTMCell"):
            Stack(cells.LSTMCell(F, H), F, H)  # type: ignore[arg-type]

    @pytest.mark.parametrize("engine", ["auto", "eager"])
    @pytest.mark.parametrize(
        ("step", "got"),
        [
            (lambda x, h: (h + 1, h + x), r"\[\(2, 1\), \(2, 1\)\]"),
            (lambda x, h: torch.cat([h, x], 1), r"\[\(2, 2\)\]"),
            (lambda x, h: (h + x).sum(), r"\[\(\)\]"),
        ],
        ids=["output and state", "another width", "no batch"],
    )
    def test_a_step_that_returns_another_form(self, step: Any, got: str, engine: str) -> None:
        class Other(Sum):
            def forward(self, x: Tensor, state: Tensor) -> Any:
                return step(x, state)

        with pytest.raises(DataError, match=rf"It takes parts of shape \[\(2, 1\)\]\. Got {got}"):
            Recurrent(Other(), engine=engine)(torch.ones(2, 3, 1))

    def test_an_initial_state_without_a_batch(self) -> None:
        class Flat(Sum):
            def initial_state(self, batch_size: int) -> Tensor:
                return torch.zeros(1)

        with pytest.raises(
            DataError, match=r"must give tensors \(B, width\), B being 2\. Got one of shape \(1,\)"
        ):
            Recurrent(Flat())(torch.ones(2, 3, 1))

    def test_reverse_cell_alone(self) -> None:
        with pytest.raises(ValueError, match="bidirectional=True"):
            Recurrent(Sum(), reverse_cell=Sum())

    def test_engine(self) -> None:
        with pytest.raises(InvalidParameterError, match="Did you mean 'native'"):
            Recurrent(Sum(), engine="nativ")

    def test_state_of_another_shape(self) -> None:
        with pytest.raises(DataError, match=r"\[\(2, 5\), \(2, 5\)\]\. Got \[\(3, 5\), \(2, 5\)\]"):
            Recurrent(cells.LSTMCell(F, H))(random_ragged(1, 2), (torch.zeros(3, H), torch.zeros(2, H)))
        with pytest.raises(DataError, match="takes a pair of states"):
            Recurrent(Sum(), bidirectional=True)(NUMBERS, [torch.zeros(3, 1)] * 3)
        with pytest.raises(DataError, match="must have one entry a layer, 2"):
            Stack("gru", F, H, num_layers=2)(random_ragged(1), [(torch.zeros(1, H),)])

    @pytest.mark.parametrize("engine", ["auto", "native", "eager"])
    def test_input_of_another_width(self, engine: str) -> None:
        layer, x = Recurrent(cells.GRUCell(F, H), engine=engine), random_ragged(2, width=F + 1)
        for call in (layer, layer.explain_path, Stack("gru", F, H, engine=engine)):
            with pytest.raises(DataError, match=r"of GRUCell must have 3 features, \(N, 3\)\. Got \(N, 4\)"):
                call(x)
        with pytest.raises(DataError, match=r"Got \(N\)"):
            layer(Ragged(torch.zeros(2), [0, 2]))

    def test_step_needs_the_past_only(self) -> None:
        for options in ({"reverse": True}, {"bidirectional": True}):
            with pytest.raises(DataError, match="without reverse or bidirectional"):
                Recurrent(Sum(), **options).step(torch.ones(1, 1))

    def test_unbatched_stack(self) -> None:
        with pytest.raises(DataError, match="batch axis"):
            Stack("rnn", F, H)(torch.randn(4, F))

    def test_parameters(self) -> None:
        for options in ({"hidden_size": 0}, {"num_layers": 0}, {"dropout": 1.5}, {"cell": "lstn"}):
            with pytest.raises(InvalidParameterError):
                Stack(**{"cell": "lstm", "input_size": F, "hidden_size": H, **options})

    def test_explain_path_of_something_else(self) -> None:
        with pytest.raises(TypeError, match="explain_path takes a layer"):
            explain_path(nn.Linear(F, H), torch.zeros(1, F))


def test_explain_path_of_every_kind() -> None:
    x = random_ragged(2, 3)
    assert explain_path(Recurrent(cells.GRUCell(F, H), bidirectional=True), x) == "native"
    assert explain_path(Recurrent(cells.GRUCell(F, H), engine="eager"), x) == "eager: asked for"
    assert explain_path(Stack("lstm", F, H, num_layers=2), x) == "native"
    assert explain_path(LSTM(F, H), x.to_packed()) == "native"
    assert explain_path(LSTM(F, H, batch_first=True), torch.zeros(2, 3, F)) == "native"


def test_weights_without_numbers_are_refused() -> None:
    layer = Recurrent(cells.LSTMCell(5, 7)).to("meta")
    with pytest.raises(EngineError, match="'meta' device"), torch.no_grad():
        layer(torch.randn(2, 3, 5))


def test_ids_of_two_axes_are_refused() -> None:
    stack, embedding = Stack("gru", 4, 5), nn.Embedding(9, 4)
    with pytest.raises(DataError, match=r"Ids must be int64 or int32, \(N,\)"):
        stack.embedded(Ragged.from_list([torch.zeros(3, 2, dtype=torch.int64)]), embedding)
