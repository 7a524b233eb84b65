"""Weights of texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unspool import Ragged, SequenceGenerator
from unspool.errors import DataError
from unspool.generation.network import next_token_loss
from unspool.generation.streams import text_data

from .conftest import SMALL


def test_a_weight_of_two_is_two_copies():
    torch.manual_seed(0)
    scores, targets = Ragged(torch.randn(6, 4), [0, 2, 3, 6]), Ragged(torch.randint(0, 4, (6,)), [0, 2, 3, 6])
    found = next_token_loss(scores, targets, torch.tensor([2.0, 1.0, 0.0]))
    rows = torch.tensor([0, 0, 1])
    torch.testing.assert_close(found * 6, next_token_loss(scores[rows], targets[rows]) * 5)
    torch.testing.assert_close(
        next_token_loss(scores, targets, torch.ones(3)), next_token_loss(scores, targets)
    )


def test_every_piece_of_a_text_has_its_weight_whose_mean_over_tokens_is_one():
    texts, weights = [np.arange(2, 42), np.arange(2, 7)], np.array([1.0, 3.0])
    data = text_data(texts, True, 4, weights, steps_a_chunk=5)
    assert len(data) > 2 and set((data.weights / data.weights.min()).tolist()) == {1.0, 3.0}
    mean = (data.weights * data.following.lengths).sum() / data.following.lengths.sum()
    assert float(mean) == pytest.approx(1)
    by_text = {int(row): float(w) for row, w in zip(data.origin, data.weights)}
    for chunk in data.training_batches(2, torch.Generator().manual_seed(0)):
        own = data.origin[chunk.rows]
        assert chunk.weights.tolist() == pytest.approx([by_text[int(row)] for row in own])


def test_texts_that_weigh_nothing_teach_nothing():
    texts = ["abab" * 4] * 12 + ["cdcd" * 4] * 12
    weights = np.repeat([1.0, 0.0], 12)
    settings = {**SMALL, "epochs": 6, "learning_rate": 0.02, "early_stopping": False}
    model = SequenceGenerator(**settings).fit(texts, sample_weight=weights)
    assert model.perplexity(texts[:1]) < 2 < 20 < model.perplexity(texts[-1:])
    alike = SequenceGenerator(**settings).fit(texts)
    ones = SequenceGenerator(**settings).fit(texts, sample_weight=np.full(24, 3.0))
    assert ones.history_[-1]["train_loss"] == pytest.approx(alike.history_[-1]["train_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("texts", "weights", "message"),
    [
        ("abcdef" * 20, [1.0], "X is one text"),
        (["ab", "cd", "ef"], [1.0], "sample_weight must have shape"),
        (["ab", "cd", "ef"], [1.0, -1.0, 1.0], "zero or more"),
    ],
)
def test_what_is_refused(texts, weights, message):
    with pytest.raises(DataError, match=message):
        SequenceGenerator(**SMALL).fit(texts, sample_weight=weights)
