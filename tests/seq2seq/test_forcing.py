from __future__ import annotations

import math

import pytest
import torch
from tests.seq2seq.conftest import network

from unspool import Ragged
from unspool.seq2seq.forcing import Forced, TokenLoss, mixed, share
from unspool.seq2seq.pairs import PairData, ragged

TOKENS = Ragged.from_list([torch.tensor(row) for row in ([0, 2, 2], [0], [0, 3, 3, 3])])
SURE = torch.full((8, 4), -torch.inf)  # the scores of the tokens that follow: always 1
SURE[:, 1] = 0.0


def test_the_schedules_by_hand():
    assert [share("linear", 0.6, epoch, 5) for epoch in (1, 3, 5)] == pytest.approx([1.0, 0.8, 0.6])
    assert [share("constant", 0.6, epoch, 5) for epoch in (1, 5)] == [0.6, 0.6]
    assert [share("cosine", 0.0, epoch, 5) for epoch in (1, 2, 3, 5)] == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, 0.0]
    )
    assert share("linear", 0.5, 1, 1) == 1.0


def test_drawn_tokens_come_after_the_mark_in_their_own_target():
    assert torch.equal(mixed(TOKENS, SURE, 1.0), TOKENS.values)
    assert mixed(TOKENS, SURE, 0.0).tolist() == [0, 1, 1, 0, 0, 1, 1, 1]
    own = SURE.clone()
    own[2] = torch.tensor([-torch.inf, -torch.inf, -torch.inf, 0.0])  # the last step of the first target
    assert mixed(TOKENS, own, 0.0).tolist() == [0, 1, 1, 0, 0, 1, 1, 1]
    own[0] = own[2]
    assert mixed(TOKENS, own, 0.0).tolist() == [0, 3, 1, 0, 0, 1, 1, 1]


def test_the_share_is_that_of_the_steps():
    many = ragged([torch.full((500,), 2).numpy() for _ in range(20)])
    scores = torch.full((10000, 4), -torch.inf)
    scores[:, 3] = 0.0
    torch.manual_seed(0)
    kept = (mixed(many, scores, 0.7) == 2).float().mean().item()
    assert kept == pytest.approx(0.7, abs=0.02)


def test_in_training_the_decoder_sees_the_mixture_and_in_evaluation_the_target():
    net = network()
    forced = Forced(net)
    source = Ragged.from_list([torch.tensor([2]), torch.tensor([3, 4]), torch.tensor([1, 1])])
    expected = net(source, TOKENS).values
    forced.share = 0.1
    forced.eval()
    assert torch.equal(forced(source, TOKENS).values, expected)
    forced.train()
    torch.manual_seed(0)
    found = forced(source, TOKENS)
    torch.manual_seed(0)
    given = mixed(TOKENS, expected.detach(), 0.1)
    assert not torch.equal(given, TOKENS.values)
    torch.testing.assert_close(found.values, net(source, TOKENS.with_values(given)).values)


def test_the_loss_by_hand():
    class Mode(torch.nn.Module):
        pass

    mode = Mode().eval()
    scores = Ragged.from_list([torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])])
    targets = Ragged.from_list([torch.tensor([0, 0])])
    plain = (math.log(2) - math.log(0.75)) / 2
    assert TokenLoss(mode, 0.2)(scores, targets).item() == pytest.approx(plain)
    mode.train()
    smoothed = (math.log(2) - 0.9 * math.log(0.75) - 0.1 * math.log(0.25)) / 2
    assert TokenLoss(mode, 0.2)(scores, targets).item() == pytest.approx(smoothed)


def test_pairs_are_given_from_the_mark_on_and_end_with_it():
    rows = [torch.tensor(row).numpy() for row in ([2, 3], [], [4])]
    data = PairData(ragged(rows), ragged(rows, mark=True), vocabulary_size=5)
    (batch,) = data.prediction_batches()
    pairs = {
        int(row): (given.tolist(), target.tolist())
        for row, given, target in zip(batch.rows, batch.tokens, batch.targets)
    }
    assert pairs == {0: ([0, 2, 3], [2, 3, 0]), 1: ([0], [0]), 2: ([0, 4], [4, 0])}
    one = PairData(ragged(rows), ragged(rows, mark=True), vocabulary_size=2**30)
    assert [batch.rows.tolist() for batch in one.prediction_batches()] == [[1], [2], [0]]
