from __future__ import annotations

import torch

from unspool import Ragged
from unspool.training.batches import PREDICTION_STEPS, PredictionBatches, SequenceData, TrainingBatches


def data(lengths: list[int]) -> SequenceData:
    """Sequence i holds the number i at each step, and has target i."""
    inputs = Ragged.from_list([[i] * n for i, n in enumerate(lengths)])
    return SequenceData(inputs, torch.arange(len(lengths)), torch.arange(len(lengths)) * 2.0)


def test_each_epoch_has_every_row_once_in_other_batches_of_similar_length() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(1, 100, (403,))
    batches = TrainingBatches(data(lengths.tolist()), 8, torch.Generator().manual_seed(1))
    seen = []
    for _ in range(2):
        epoch = list(batches)
        assert len(epoch) == len(batches) == 51
        assert sorted(torch.cat([b.rows for b in epoch]).tolist()) == list(range(403))
        seen.append({tuple(sorted(b.rows.tolist())) for b in epoch})
        spread = [int(lengths[b.rows].max() - lengths[b.rows].min()) for b in epoch]
        # cut by length from windows of 12 batches, a batch spans about 100 / 12; a random batch of 8 spans 78
        assert sum(spread) / len(spread) < 20
        for b in epoch:
            assert torch.equal(b.inputs.lengths, lengths[b.rows])
            assert torch.equal(b.inputs.values, b.rows.repeat_interleave(lengths[b.rows]))
            assert torch.equal(b.targets, b.rows) and torch.equal(b.weights, b.rows * 2.0)
    assert len(seen[0] & seen[1]) < 5
    again = TrainingBatches(data(lengths.tolist()), 8, torch.Generator().manual_seed(1))
    assert [b.rows.tolist() for b in again] != [b.rows.tolist() for b in again]
    first = TrainingBatches(batches.data, 8, torch.Generator().manual_seed(1))
    assert {tuple(sorted(b.rows.tolist())) for b in first} == seen[0]


def test_prediction_batches_bound_the_steps() -> None:
    long = PREDICTION_STEPS // 2
    batches = list(PredictionBatches(data([1, long, 0, long, long, 3])))
    assert sorted(torch.cat([b.rows for b in batches]).tolist()) == [0, 1, 2, 3, 4, 5]
    assert max(len(b.inputs.values) for b in batches) <= PREDICTION_STEPS
