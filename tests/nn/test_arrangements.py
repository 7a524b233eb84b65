"""Merged directions, initial states, widths, residual and highway connections: worked by hand, and against loops."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unspool import Ragged, cells, explain_path
from unspool.errors import DataError, InvalidParameterError
from unspool.heads import Pooling
from unspool.nn import LSTM, Highway, Recurrent, Stack, final_output
from unspool.state import flatten

ENGINES = pytest.mark.parametrize("engine", ["native", "eager"])
F, H = 3, 5


class Sum(nn.Module):
    """state' = state + x."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return state + x


NUMBERS = Ragged.from_list([torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(0, 1), torch.tensor([[10.0]])])


def ragged(*lengths: int, width: int = F) -> Ragged:
    torch.manual_seed(1)
    return Ragged.from_list([torch.randn(n, width) for n in lengths])


class TestMerge:
    # forward sums 1, 3, 6 | 10; from the end 6, 5, 3 | 10
    EXPECTED: tuple[tuple[str, list[float]], ...] = (
        ("sum", [7, 8, 9, 20]),
        ("mean", [3.5, 4, 4.5, 10]),
        ("product", [6, 15, 18, 100]),
    )

    @ENGINES
    @pytest.mark.parametrize(("merge", "expected"), EXPECTED)
    def test_by_hand(self, merge: str, expected: list[float], engine: str) -> None:
        layer = Recurrent(Sum(), bidirectional=True, merge=merge, engine=engine)
        output, (forward, backward) = layer(NUMBERS)
        assert output.values[:, 0].tolist() == expected
        assert forward[:, 0].tolist() == backward[:, 0].tolist() == [6, 0, 10]
        assert layer.output_size() == 1

    @ENGINES
    def test_none_is_each_directions_output(self, engine: str) -> None:
        layer = Recurrent(Sum(), bidirectional=True, merge=None, engine=engine)
        (forward, backward), _ = layer(NUMBERS)
        assert forward.values[:, 0].tolist() == [1, 3, 6, 10]
        assert backward.values[:, 0].tolist() == [6, 5, 3, 10]
        padded, _ = layer(torch.ones(2, 3, 1))
        assert padded[0].tolist() == [[[1], [2], [3]]] * 2 and padded[1].tolist() == [[[3], [2], [1]]] * 2
        assert [p.data.shape for p in layer(NUMBERS[[0, 2]].to_packed())[0]] == [(4, 1)] * 2

    @pytest.mark.parametrize("merge", ["concat", "sum", "mean", "product", None])
    def test_native_is_the_plain_loop(self, merge: str | None) -> None:
        torch.manual_seed(0)
        layer = Recurrent(cells.LSTMCell(F, H), bidirectional=True, merge=merge, engine="native")
        plain = copy.deepcopy(layer)
        plain.engine = "eager"
        x, found = ragged(4, 0, 2), []
        for each in (layer, plain):
            output, state = each(x)
            parts = output if isinstance(output, tuple) else (output,)
            total = sum(part.values.cos().sum() for part in parts) + sum(
                leaf.sum() for leaf in flatten(state)
            )
            found.append([*(p.values for p in parts), *torch.autograd.grad(total, list(each.parameters()))])
        for got, expected in zip(*found, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

    def test_what_does_not_go_together(self) -> None:
        cell, wide = cells.GRUCell(F, H), cells.GRUCell(F, H + 1)
        with pytest.raises(InvalidParameterError, match="directions of different widths"):
            Recurrent(cell, bidirectional=True, reverse_cell=wide, merge="sum")
        with pytest.raises(InvalidParameterError, match="left out without bidirectional=True"):
            Recurrent(cell, merge="sum")
        with pytest.raises(InvalidParameterError, match="Did you mean 'concat'"):
            Recurrent(cell, bidirectional=True, merge="concatenate")
        with pytest.raises(InvalidParameterError, match="'merge' parameter of Stack"):
            Stack("gru", F, H, bidirectional=True, merge=None)


class TestInitialState:
    @ENGINES
    def test_learned_by_hand(self, engine: str) -> None:
        """Every output of every sequence contains the start once: its gradient is their number, 4."""
        layer = Recurrent(Sum(), initial_state="learned", engine=engine)
        with torch.no_grad():
            layer.learned_state[0].fill_(100.0)
        output, state = layer(NUMBERS)
        assert output.values[:, 0].tolist() == [101, 103, 106, 110]
        assert state[:, 0].tolist() == [106, 100, 110]
        output.values.sum().backward()
        assert layer.learned_state[0].grad.tolist() == [4.0]
        assert layer.step(torch.ones(2, 1)).tolist() == [[101], [101]]

    def test_learned_starts_at_the_cells_own_for_each_direction(self) -> None:
        layer, x = Recurrent(cells.LSTMCell(F, H), bidirectional=True, initial_state="learned"), ragged(2, 3)
        assert [tuple(p.shape) for p in layer.learned_state] == [(H,)] * 4
        plain = Recurrent(layer.cell, bidirectional=True, reverse_cell=layer.reverse_cell)
        assert torch.equal(layer(x)[0].values, plain(x)[0].values)
        assert set(layer.state_dict()) - set(plain.state_dict()) == {f"learned_state.{i}" for i in range(4)}
        assert explain_path(layer, x) == "native"

    @ENGINES
    def test_from_a_module_or_from_context(self, engine: str) -> None:
        class Start(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.value = nn.Parameter(torch.tensor([7.0]))

            def forward(self, batch_size: int) -> Tensor:
                return self.value.expand(batch_size, 1)

        layer = Recurrent(Sum(), initial_state=Start(), engine=engine)
        assert layer(NUMBERS)[0].values[:, 0].tolist() == [8, 10, 13, 17]
        assert "start.value" in dict(layer.named_parameters())
        context = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
        _, state = layer(NUMBERS, 10 * context)  # a state given at the call comes before the layer's own
        assert state[:, 0].tolist() == [16, 20, 40]
        state.sum().backward()
        assert context.grad[:, 0].tolist() == [10, 10, 10]

    def test_of_a_stack(self) -> None:
        stack = Stack("lstm", F, H, num_layers=2, bidirectional=True, initial_state="learned")
        assert sum(p.numel() for n, p in stack.named_parameters() if "learned" in n) == 2 * 2 * 2 * H
        state = stack.initial_state(3)
        assert [len(layer) for layer in state] == [2, 2] and state[0][0][0].shape == (3, H)
        x = ragged(2, 3, 1)
        assert torch.equal(stack(x)[0].values, stack(x, state)[0].values)

    def test_errors(self) -> None:
        with pytest.raises(InvalidParameterError, match="Did you mean 'learned'"):
            Recurrent(Sum(), initial_state="learnt")
        with pytest.raises(InvalidParameterError, match="or a callable"):
            Recurrent(Sum(), initial_state=0.0)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"parts of shape \[\(3, 1\)\]\. Got \[\(3, 2\)\]"):
            Recurrent(Sum(), initial_state=lambda batch: torch.zeros(batch, 2))(NUMBERS)
        with pytest.raises(InvalidParameterError, match="Pass a computed state at the call"):
            Stack("gru", F, H, initial_state=lambda batch: None)


class TestWidths:
    def test_a_width_for_each_layer(self) -> None:
        stack = Stack("lstm", F, (7, 5, 4), bidirectional=True, engine="native")
        assert [layer.cell.hidden_size for layer in stack.layers] == [7, 5, 4]
        assert [layer.cell.input_size for layer in stack.layers] == [F, 14, 10]
        x = ragged(4, 1)
        expected = x
        for layer in stack.layers:
            expected, _ = layer(expected)
        assert torch.equal(stack(x)[0].values, expected.values) and stack.output_size == 8
        merged = Stack("gru", F, [7, 5], bidirectional=True, merge="mean")
        assert [layer.cell.input_size for layer in merged.layers] == [F, 7] and merged.output_size == 5

    def test_errors(self) -> None:
        with pytest.raises(InvalidParameterError, match="left out or 2"):
            Stack("gru", F, (4, 5), num_layers=3)
        with pytest.raises(InvalidParameterError, match="one for each layer"):
            Stack("gru", F, ())
        with pytest.raises(InvalidParameterError, match=r"'hidden_size' .* Got 0"):
            Stack("gru", F, (4, 0))


class TestConnections:
    @ENGINES
    def test_residual_by_hand(self, engine: str) -> None:
        """Sums s = 1, 3, 6 of 1, 2, 3; sums of sums 1, 4, 10; with s added 2, 7, 16; again 2, 9, 25 and 4, 16, 41."""
        stack = Stack(lambda f, h: Sum(), 1, 1, num_layers=3, connection="residual", engine=engine)
        output, state = stack(NUMBERS)
        assert output.values[:, 0].tolist() == [4, 16, 41, 40]
        assert [layer[0][:, 0].tolist() for layer in state] == [[6, 0, 10], [10, 0, 10], [25, 0, 20]]
        assert stack.final_output(output, state)[:, 0].tolist() == [41, 0, 40]

    @ENGINES
    def test_highway_against_its_equation(self, engine: str) -> None:
        torch.manual_seed(0)
        stack = Stack("gru", F, H, num_layers=3, connection="highway", engine=engine)
        x = ragged(4, 0, 2)
        below, _ = stack.layers[0](x)
        for layer, highway in zip(stack.layers[1:], stack.highways, strict=True):
            above, _ = layer(below)
            t = 1 / (1 + torch.exp(-(below.values @ highway.gate.weight.T + highway.gate.bias)))
            below = below.with_values(t * above.values + (1 - t) * below.values)
        torch.testing.assert_close(stack(x)[0].values, below.values)
        assert set(Highway(4).gate.bias.tolist()) == {-1.0}
        assert sum(p.numel() for p in stack.highways.parameters()) == 2 * (H * H + H)

    def test_the_skipped_input_is_not_dropped(self) -> None:
        stack = Stack(lambda f, h: Sum(), 1, 1, num_layers=2, connection="residual", dropout=1.0)
        assert stack(NUMBERS)[0].values[:, 0].tolist() == [1, 3, 6, 10]

    @pytest.mark.parametrize("connection", ["residual", "highway"])
    def test_last_output_of_both_directions(self, connection: str) -> None:
        """Forward's half of the last step beside backward's half of the first, one sequence at a time."""
        stack = Stack("rnn", F, H, num_layers=2, bidirectional=True, connection=connection)
        x = ragged(4, 1, 0, 3)
        output, state = stack(x)
        expected = [
            torch.cat([s[-1, :H], s[0, H:]]) if len(s) else torch.zeros(2 * H) for s in output.to_list()
        ]
        last = stack.final_output(output, state)
        assert torch.equal(last, torch.stack(expected))
        assert torch.equal(Pooling("last+max", 2 * H)(output, state, last)[:, : 2 * H], last)

    def test_errors(self) -> None:
        with pytest.raises(InvalidParameterError, match=r"different output widths, \[4, 5\]"):
            Stack("gru", F, (4, 5), connection="residual")
        with pytest.raises(InvalidParameterError, match="None for one layer"):
            Stack("gru", H, H, connection="highway")
        with pytest.raises(InvalidParameterError, match="Did you mean 'residual'"):
            Stack("gru", F, H, num_layers=2, connection="residuals")
        stack = Stack("gru", F, H, num_layers=2, bidirectional=True, merge="sum", connection="residual")
        with pytest.raises(DataError, match="Use merge='concat', or pool over the steps"):
            stack.final_output(*stack(ragged(2)))


class TestLastOutput:
    @pytest.mark.parametrize("merge", ["concat", "sum", "mean", "product"])
    def test_is_each_directions_own_whatever_the_batch(self, merge: str) -> None:
        stack, x = Stack("lstm", F, H, num_layers=2, bidirectional=True, merge=merge), ragged(4, 1, 3)
        last = stack.final_output(*stack(x))
        for i, steps in enumerate(x):
            hidden, _ = stack.layers[0](steps[None])
            (forward, backward), _ = _separate(stack.layers[1])(hidden)
            ends = [forward[0, -1], backward[0, 0]]
            expected = {
                "concat": torch.cat(ends),
                "sum": ends[0] + ends[1],
                "mean": (ends[0] + ends[1]) / 2,
                "product": ends[0] * ends[1],
            }[merge]
            torch.testing.assert_close(last[i], expected)
            torch.testing.assert_close(final_output(stack(x)[1], merge)[i], expected)

    def test_pools_over_both_directions(self) -> None:
        stack, x = Stack("gru", F, H, bidirectional=True), ragged(4, 0, 3)
        output, state = stack(x)
        pooled = Pooling("last+first+mean+max", 2 * H)(output, state)
        assert not pooled[1].any()  # the empty one
        for i in (0, 2):
            steps = output[i]
            ends = [torch.cat([steps[-1, :H], steps[0, H:]]), steps[0], steps.mean(0), steps.max(0).values]
            torch.testing.assert_close(pooled[i], torch.cat(ends))


def _separate(layer: Any) -> Recurrent:
    return Recurrent(layer.cell, bidirectional=True, reverse_cell=layer.reverse_cell, merge=None)


def test_initial_state_of_the_drop_ins() -> None:
    h, c = LSTM(F, H, num_layers=2, proj_size=2).initial_state(4)
    assert h.shape == (2, 4, 2) and c.shape == (2, 4, H) and not h.requires_grad
