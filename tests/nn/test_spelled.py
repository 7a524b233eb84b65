"""Vectors of words' characters, against torch's convolution and LSTM, a word at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unspool import cells
from unspool.errors import InvalidParameterError
from unspool.nn import Stack
from unspool.nn.given import GivenEmbedding
from unspool.nn.spelled import CharacterCnn, CharacterRnn, SpelledEmbedding
from unspool.ragged import Ragged

WORDS = [[3, 4, 5, 3], [2], [], [6, 2], [5, 5, 5, 5, 5, 4, 3]]
LETTERS = Ragged.from_list([torch.tensor(w, dtype=torch.int64) for w in WORDS])
ROWS = torch.tensor([[i, *w, *[0] * (7 - len(w))] for i, w in enumerate(WORDS)], dtype=torch.int32)


def test_the_filters_are_a_convolution_and_its_largest_answer():
    torch.manual_seed(0)
    layer = CharacterCnn(7)
    found = layer(LETTERS)
    weight = layer.filters.weight.view(-1, 3, 30).transpose(
        1, 2
    )  # torch: (filters, numbers a character, width)
    for i, word in enumerate(WORDS):
        if not word:
            assert torch.equal(found[i], torch.zeros(50))
            continue
        block = layer.embedding(torch.tensor(word)).T[None]
        answers = nn.functional.conv1d(block, weight, layer.filters.bias, padding=1)
        torch.testing.assert_close(found[i], answers.relu().amax(2)[0])


def test_the_recurrent_kind_is_torchs_lstm_from_both_ends():
    torch.manual_seed(0)
    layer = CharacterRnn(7, cells.get("lstm"))
    found = layer(LETTERS)
    twin = nn.LSTM(30, 25, bidirectional=True, batch_first=True)
    own = dict(layer.layer.named_parameters())
    for name, value in twin.named_parameters():
        side, plain = ("reverse_cell", name[:-8]) if name.endswith("_reverse") else ("cell", name)
        value.data = own[f"{side}.{plain.removesuffix('_l0')}"].data
    for i, word in enumerate(WORDS):
        if word:
            last = twin(layer.embedding(torch.tensor(word))[None])[1][0]
            torch.testing.assert_close(found[i], torch.cat([last[0, 0], last[1, 0]]))


@pytest.mark.parametrize("kind", ["cnn", "recurrent"])
def test_it_stands_beside_the_word_and_learns(kind):
    torch.manual_seed(0)
    words = GivenEmbedding(torch.randn(5, 4), 5)
    embedding = SpelledEmbedding(words, kind, 7, cells.get("gru"))
    found = embedding(ROWS)
    assert found.shape == (5, embedding.embedding_dim) == (5, 54)
    assert torch.equal(found[:, :4], words.given)
    torch.testing.assert_close(found[:, 4:], embedding.spelling(LETTERS))
    found.sum().backward()
    assert embedding.spelling.embedding.weight.grad[2:].abs().sum(1).min() > 0
    assert torch.equal(embedding.merged()(ROWS), found)


def test_a_stack_computes_once_what_tokens_share():
    torch.manual_seed(0)
    embedding = SpelledEmbedding(nn.Embedding(5, 4), "cnn", 7, cells.get("gru"))
    stack = Stack("gru", 54, 3)
    rows = Ragged(ROWS[[1, 3, 1, 4, 4]], [0, 3, 5])
    seen = []
    embedding.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    output, _ = stack.embedded(rows, embedding)
    assert seen == [3]
    torch.testing.assert_close(output.values, stack(rows.with_values(embedding(rows.values)))[0].values)


def test_another_kind_is_refused():
    with pytest.raises(InvalidParameterError, match="Did you mean 'cnn'"):
        SpelledEmbedding(nn.Embedding(5, 4), "cn", 7, cells.get("gru"))
