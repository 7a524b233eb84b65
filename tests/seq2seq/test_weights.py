"""Weights of pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unspool import Ragged, Seq2Seq
from unspool.errors import DataError
from unspool.seq2seq.forcing import TokenLoss

from .conftest import LETTERS, SMALL


def test_a_weight_of_two_is_two_copies():
    torch.manual_seed(0)
    scores = Ragged(torch.randn(6, 4), [0, 2, 3, 6])
    targets = Ragged(torch.randint(0, 4, (6,)), [0, 2, 3, 6])
    loss = TokenLoss(nn.Identity().eval())
    found = loss(scores, targets, torch.tensor([2.0, 1.0, 0.0]))
    rows = torch.tensor([0, 0, 1])
    torch.testing.assert_close(found * 6, loss(scores[rows], targets[rows]) * 5)
    torch.testing.assert_close(loss(scores, targets, torch.ones(3)), loss(scores, targets))


def test_pairs_that_weigh_nothing_teach_nothing():
    right, wrong = [t.upper() for t in LETTERS], ["ZZZ"] * len(LETTERS)
    X, y = LETTERS * 4, right * 2 + wrong * 2
    weights = np.repeat([1.0, 0.0], 2 * len(LETTERS))
    settings = {**SMALL, "epochs": 25, "learning_rate": 0.02, "dropout": 0.0, "early_stopping": False}
    model = Seq2Seq(**settings).fit(X, y, sample_weight=weights)
    assert "ZZZ" not in model.predict(LETTERS)
    with pytest.raises(DataError, match="sample_weight must have shape"):
        Seq2Seq(**settings).fit(X, y, sample_weight=weights[:3])
