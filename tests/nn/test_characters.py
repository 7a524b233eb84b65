"""Vectors of words out of characters: against torch's own convolution and LSTM, word by word."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unspool.errors import InvalidParameterError
from unspool.nn import CharacterNet, Stack, WordsAndCharacters
from unspool.nn.given import GivenEmbedding
from unspool.ragged import Ragged

ROWS = torch.tensor(
    [[2, 4, 5, 6, 3, 0, 0], [2, 7, 3, 0, 0, 0, 0], [2, 3, 0, 0, 0, 0, 0], [2, 5, 5, 5, 5, 5, 3]]
)


def net(kind: str, **options) -> CharacterNet:
    torch.manual_seed(0)
    return CharacterNet(8, kind, size=6, dim=5, **options).eval()


def by_torch(model: CharacterNet, row: torch.Tensor) -> torch.Tensor:
    """(size,): one word, by torch.nn."""
    x = model.embedding(row[row > 0])
    if model.filters is not None:
        weight = torch.stack(model.filters.weight.chunk(3, 1), 2)  # (size, dim, 3)
        found = F.conv1d(x.T[None], weight, model.filters.bias, padding=1)
        return torch.tanh(found)[0].amax(1)
    lstm = nn.LSTM(5, 3, bidirectional=True, batch_first=True)
    cells = model.recurrent.cells()
    for cell, suffix in zip(cells, ("", "_reverse")):
        for name, value in cell.named_parameters():
            getattr(lstm, f"{name}_l0{suffix}").data.copy_(value)
    return lstm(x[None])[1][0].reshape(-1)


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_as_torch_word_by_word(kind):
    model = net(kind)
    expected = torch.stack([by_torch(model, row) for row in ROWS])
    torch.testing.assert_close(model(ROWS), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_gradients_as_torch(kind):
    model = net(kind)
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    (model(ROWS) * weight).sum().backward()
    own = model.embedding.weight.grad.clone()
    model.zero_grad()
    expected = torch.stack([by_torch(model, row) for row in ROWS])
    (expected * weight).sum().backward()
    torch.testing.assert_close(own, model.embedding.weight.grad, atol=1e-5, rtol=1e-4)
    assert own.abs().sum() > 0


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_a_word_of_nothing_and_a_wider_block(kind):
    model = net(kind)
    wide = torch.zeros(5, 12, dtype=torch.int64)
    wide[:4, :7] = ROWS
    found = model(wide)
    assert found[4].eq(0).all()
    torch.testing.assert_close(found[:4], model(ROWS))


def test_words_beside_characters_once_a_form():
    torch.manual_seed(0)
    embedding, model = nn.Embedding(9, 3), net("cnn")
    both = WordsAndCharacters(embedding, model)
    forms = torch.tensor([2, 0, 2, 1])
    steps = torch.cat([torch.tensor([[4, 2], [8, 0], [4, 2], [1, 1]]), ROWS[forms]], 1)
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    expected = torch.cat([embedding(steps[:, 0]), model(ROWS[forms])], 1)
    torch.testing.assert_close(both(steps), expected)
    assert seen == [4, 3] and both.output_size == 9


def test_dropout_only_while_training():
    model = net("cnn", dropout=0.5)
    assert torch.equal(model(ROWS), model(ROWS))
    model.train()
    assert not torch.equal(model(ROWS), model(ROWS))


def test_refused():
    with pytest.raises(InvalidParameterError, match="even for 'lstm'"):
        CharacterNet(8, "lstm", size=5)
    with pytest.raises(InvalidParameterError, match="'cnn', 'lstm'"):
        CharacterNet(8, "gru")


def test_a_stack_computes_once_what_words_share():
    torch.manual_seed(0)
    given = GivenEmbedding(torch.randn(5, 4), 5)
    both = WordsAndCharacters(given, CharacterNet(9, "cnn"))
    stack = Stack("gru", 54, 3)
    rows = [[2, 0, 2, 5, 3], [3, 1, 2, 6, 3], [2, 0, 2, 5, 3], [1, 2, 2, 7, 3], [1, 3, 2, 8, 3]]
    steps = Ragged(torch.tensor(rows), [0, 3, 5])
    seen = []
    both.characters.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    output, _ = stack.embedded(steps, both)
    assert seen == [4]
    torch.testing.assert_close(output.values, stack(steps.with_values(both(steps.values)))[0].values)
    assert torch.equal(both.merged()(steps.values), both(steps.values))
    assert type(both.merged().embedding) is torch.nn.Embedding and both.embedding is given


def test_a_form_whose_word_is_dropped_at_some_steps():
    torch.manual_seed(0)
    both = WordsAndCharacters(nn.Embedding(9, 3), net("cnn"))
    forms = torch.tensor([2, 0, 2, 2])
    steps = torch.cat([torch.tensor([[4, 2], [8, 0], [1, 2], [4, 2]]), ROWS[forms]], 1)
    rows, index = both.distinct(steps)
    assert len(rows) == 3 and torch.equal(rows[index], steps)
    assert len(both.distinct(steps[:0])[0]) == 0
