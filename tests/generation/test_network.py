"""The network: no output sees the future, a step is the whole, penalties and masks by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unspool import Ragged, cells
from unspool.errors import SlowPathWarning
from unspool.generation.network import LanguageModel, TokenEmbedding, next_token_loss
from unspool.generation.stepping import NextToken, Stepper, select
from unspool.generation.streams import Carried
from unspool.training import Settings, train

V = 9
BASE: dict[str, Any] = {"cell": "lstm", "embedding_dim": 5, "hidden_size": 6, "num_layers": 2, "tied": False}
CELLS = [{"cell": name} for name in cells.names()]
OPTIONS: list[dict[str, Any]] = [
    {"connection": "residual"},
    {"connection": "highway"},
    {"zoneout": 0.2},
    {"zoneout": (0.05, 0.5), "num_layers": 1},
    {"tied": True},
    {"tied": True, "hidden_size": (7, 5), "num_layers": 1},
    {"hidden_size": (7, 4), "num_layers": 1},
    {"weight_dropout": 0.3, "recurrent_dropout": 0.3},
    {"embedding_dropout": 0.3, "input_dropout": 0.3, "dropout": 0.3},
    {"activation": 1.0, "temporal_activation": 1.0},
    {"precision": "bfloat16"},
]
EVERY = pytest.mark.parametrize("options", CELLS + OPTIONS, ids=str)


def network(seed: int = 0, **options: Any) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel(V, **{**BASE, **options}).eval()


def tokens(*lengths: int) -> Ragged:
    generator = torch.Generator().manual_seed(3)
    return Ragged(
        torch.randint(V, (sum(lengths),), generator=generator), torch.tensor([0, *lengths]).cumsum(0)
    )


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_no_output_depends_on_the_future(options: dict[str, Any], training: bool) -> None:
    """Another token at step t changes the scores from t on, and not one bit of those before, of its own row only."""
    model, x = network(**options).train(training), tokens(8, 3, 6)

    def scores(x: Ragged) -> Ragged:
        torch.manual_seed(1)  # the same masks
        with torch.no_grad():
            return x.with_values(model(x).values)

    before, changed = scores(x), []
    for row, t in ((0, 0), (0, 3), (0, 7), (2, 4)):
        values = x.values.clone()
        at = int(x.offsets[row]) + t
        values[at] = (values[at] + 1) % V
        after = scores(x.with_values(values))
        for other in (0, 1, 2):
            if other != row:
                torch.testing.assert_close(after[other], before[other], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(after[row][:t], before[row][:t], rtol=1e-5, atol=1e-6)
        changed.append(not torch.allclose(after[row][t], before[row][t]))
    if options.get("cell") == "phased_lstm":  # its gates are nearly shut at these steps
        return
    assert any(changed) if training and "embedding_dropout" in options else all(changed)


@EVERY
@pytest.mark.filterwarnings("ignore::unspool.errors.SlowPathWarning")
def test_steps_are_the_whole(options: dict[str, Any]) -> None:
    """Prompts of uneven lengths, then step by step, some rows ending: the scores of whole sequences."""
    model, x = network(**options), tokens(9, 7, 8)
    allowed = torch.ones(V, dtype=torch.bool)
    allowed[1] = False
    with torch.inference_mode():
        whole = model(x)
    for form in ("float32", "eager"):
        stepper = Stepper(model, allowed)
        if form == "eager":
            stepper.advance = NextToken(model, allowed)
        with torch.inference_mode():
            state, starts = (
                stepper.start([x[i][:n].numpy() for i, n in enumerate((4, 1, 6))]),
                np.array([4, 1, 6]),
            )
            rows = np.arange(3)
            for step in range(4):
                for i, row in enumerate(rows):
                    expected = whole[int(row)][starts[row] + step - 1].clone()
                    expected[1] = -torch.inf
                    torch.testing.assert_close(state[0][i], expected, rtol=1e-4, atol=1e-5)
                ids = np.array(
                    [
                        int(x[int(row)][starts[row] + step]) if starts[row] + step < len(x[int(row)]) else -1
                        for row in rows
                    ]
                )
                state, rows, ids = select(state, np.flatnonzero(ids >= 0)), rows[ids >= 0], ids[ids >= 0]
                state = stepper.step(ids, state)


def test_a_cell_of_a_user_that_only_the_plain_loop_runs() -> None:
    class Odd(torch.nn.Module):
        def __init__(self, inputs: int, size: int) -> None:
            super().__init__()
            self.size, self.w = size, torch.nn.Parameter(torch.randn(inputs, size))

        def initial_state(self, batch: int) -> torch.Tensor:
            return torch.zeros(batch, self.size)

        def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x @ self.w + state)

    model, x = network(cell=Odd, num_layers=1), tokens(5)
    with pytest.warns(SlowPathWarning):
        whole = model(x)
    stepper = Stepper(model, torch.ones(V, dtype=torch.bool))
    with torch.inference_mode():
        state = stepper.start([x.values[:3].numpy()])
        state = stepper.step(x.values[3:4].numpy(), state)
    torch.testing.assert_close(state[0][0], whole.values[3].detach(), rtol=1e-4, atol=1e-5)


def test_penalties_by_hand() -> None:
    """One layer, no dropout: alpha mean(h²) + beta mean((h_t - h_t-1)²), no difference from one row to the next."""
    model, x = network(num_layers=1, activation=2.0, temporal_activation=3.0).train(), tokens(3, 0, 1, 2)
    h = model.stack.embedded(x, model.embedding)[0]
    differences = torch.cat([row.diff(dim=0) for row in h])
    assert differences.shape == (3, 6)
    expected = 2 * h.values.square().mean() + 3 * differences.square().mean()
    predicted = model(x)
    torch.testing.assert_close(predicted.penalty, expected)
    targets = tokens(3, 0, 1, 2)
    plain = F.cross_entropy(predicted.values, targets.values)
    torch.testing.assert_close(next_token_loss(predicted, targets), plain + expected)
    assert model.eval()(x).penalty is None
    assert network(num_layers=1).train()(x).penalty is None
    single = network(num_layers=1, temporal_activation=3.0).train()
    assert single(tokens(1, 1)).penalty is None


def test_the_penalty_is_of_the_output_after_dropout() -> None:
    model, x = network(num_layers=1, activation=1.0, dropout=0.5).train(), tokens(400)
    torch.manual_seed(5)
    penalty = model(x).penalty
    h = model.stack.embedded(x, model.embedding)[0].values
    torch.manual_seed(5)
    mask = F.dropout(torch.ones(1, 6), 0.5)
    torch.testing.assert_close(penalty, (h * mask).square().mean())


def test_embedding_dropout_is_by_the_token() -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(400, 3, 0.25)
    ids = torch.arange(400).repeat(2)
    ratio = embedding(ids) / embedding.eval()(ids)
    torch.testing.assert_close(ratio[:400], ratio[400:])
    torch.testing.assert_close(ratio[:, :1].expand_as(ratio), ratio)
    torch.testing.assert_close(ratio[:, 0], torch.where(ratio[:, 0] > 0, 4 / 3, 0.0))
    assert abs(float((ratio[:400, 0] == 0).float().mean()) - 0.25) < 0.07  # deviation 0.022
    assert torch.equal(embedding(ids), embedding.weight[ids])


def test_output_dropout_has_one_mask_a_row() -> None:
    model, x = network(num_layers=1, dropout=0.5, hidden_size=40).train(), tokens(5, 4)
    made, _ = model.stack.embedded(x, model.embedding)
    first, second = (model._locked(made) / made.values).split([5, 4])
    for row in (first, second):
        torch.testing.assert_close(row, row[:1].expand_as(row))
        assert set(row[0].round(decimals=4).tolist()) == {0.0, 2.0}
    assert not torch.allclose(first[0], second[0])


def test_tied_weights_are_one_table_that_both_ends_train() -> None:
    model = network(tied=True, hidden_size=5)
    assert model.projection is None and "head.weight" not in model.state_dict()
    x = Ragged(torch.tensor([2, 2]), [0, 2])
    F.cross_entropy(model(x).values, torch.tensor([3, 3])).backward()
    assert (model.embedding.weight.grad.abs().sum(1) > 0).all()
    assert network(tied=True).projection.out_features == 5


def test_a_large_tied_table_is_trained_whole() -> None:
    """The rows-only optimiser must not take a table that is output weights too."""
    from unspool.generation.streams import text_data

    torch.manual_seed(0)
    model = LanguageModel(
        20000, **{**BASE, "tied": True, "embedding_dim": 60, "hidden_size": 60, "num_layers": 1}
    )
    before = model.embedding.weight.detach().clone()
    settings = Settings(1, 4, 1e-2, 0.0, None, None, None, 0)
    train(model, next_token_loss, text_data([np.arange(2, 40)], False), None, settings, 0)
    assert (model.embedding.weight != before).any(1).all()


def test_a_state_goes_from_call_to_call() -> None:
    model, x = network(), tokens(8)
    carried = Carried()
    halves = [model(Ragged(part, [0, 4]), carried).values for part in x.values.split(4)]
    torch.testing.assert_close(torch.cat(halves), model(x).values)
