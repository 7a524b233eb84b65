"""Crops, noise and masks: what they leave, how much they take, and that prediction sees none of it."""

from __future__ import annotations

import torch

from unspool import Ragged
from unspool.nn.augment import Augment


def batch() -> Ragged:
    """Numbers that tell their sequence and step; one sequence is empty."""
    rows = [torch.arange(n, dtype=torch.float32)[:, None] + 100 * i + 1 for i, n in enumerate([7, 0, 1, 40])]
    return Ragged.from_list([torch.cat([row, -row], 1) for row in rows])


def test_nothing_happens_in_prediction() -> None:
    x = batch()
    assert Augment(0.5, 1.0, 0.5).eval()(x) is x


def test_a_crop_is_a_run_of_each_sequence() -> None:
    torch.manual_seed(0)
    x, seen = batch(), set()
    for _ in range(200):
        found = Augment(crop=0.5)(x)
        for i, row in enumerate(found):
            n = int(x.lengths[i])
            assert len(row) >= n * 0.5 - 0.5 and len(row) <= n and (len(row) > 0) == (n > 0)
            if len(row):
                first = row[0, 0]
                assert 100 * i + 1 <= first and row[:, 0].tolist() == [first + k for k in range(len(row))]
                assert row[-1, 0] <= 100 * i + n
        seen.add((len(found.to_list()[3]), float(found.to_list()[3][0, 0])))
    assert {n for n, _ in seen} >= set(range(21, 40)) and {301.0, 310.0} <= {start for _, start in seen}


def test_a_mask_blanks_one_run_of_each_sequence() -> None:
    torch.manual_seed(0)
    x, blanked = batch(), []
    for _ in range(200):
        found = Augment(time_mask=0.5)(x)
        for i, row in enumerate(found):
            gone = (row == 0).all(1).nonzero()[:, 0]
            if len(gone):
                assert int(gone[-1] - gone[0]) + 1 == len(gone)
            assert len(gone) <= 0.5 * len(row) + 0.5
            assert torch.equal(row[(row != 0).all(1)], x.to_list()[i][(row != 0).all(1)])
            blanked.append(len(gone) / 40 if i == 3 else 0.0)
    assert 0.2 < 4 * sum(blanked) / len(blanked) < 0.3


def test_noise_is_of_its_deviation_and_spares_the_features_after() -> None:
    torch.manual_seed(0)
    x = Ragged.from_list([torch.ones(20000, 3)])
    found = Augment(noise=0.3, time_mask=0.2, features=2)(x).values
    seen = found[(found[:, :2] != 0).all(1), :2]
    assert abs(seen.std() - 0.3) < 0.01 and abs(seen.mean() - 1) < 0.01
    assert torch.equal(found[:, 2], torch.ones(20000))
