"""PerStep against the module on each step alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from unspool import Ragged
from unspool.errors import DataError
from unspool.heads import PerStep


def test_every_layout() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    head = PerStep(module)
    sequences = [torch.randn(n, 3) for n in (2, 0, 4)]
    x = Ragged.from_list(sequences)
    for got, steps in zip(head(x), sequences, strict=True):
        assert got.shape == (len(steps), 2)
        for row, step in zip(got, steps):
            torch.testing.assert_close(row, module(step[None])[0])
    packed = x[[0, 2]].to_packed()
    torch.testing.assert_close(Ragged.from_packed(head(packed)).values, head(x[[0, 2]]).values)
    padded = torch.randn(2, 5, 3)
    torch.testing.assert_close(head(padded), torch.stack([module(row) for row in padded]))


def test_a_module_that_takes_no_time_axis() -> None:
    """Channels and pixels in each frame; a batch norm that counts real steps alone."""
    conv = PerStep(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()))
    frames = Ragged(torch.randn(5, 1, 4, 4), [0, 2, 5])
    assert conv(frames).values.shape == (5, 8) and conv(torch.randn(2, 3, 1, 4, 4)).shape == (2, 3, 8)
    norm = PerStep(nn.BatchNorm1d(3))
    x = Ragged(torch.randn(7, 3) * 5 + 2, [0, 1, 7])
    values = norm(x).values
    torch.testing.assert_close(values.mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(values.var(0, correction=0), torch.ones(3), rtol=1e-4, atol=0)


@pytest.mark.parametrize("x", [[1.0], torch.zeros(3)])
def test_what_has_no_steps(x: Any) -> None:
    with pytest.raises(DataError, match="must be a Ragged, a PackedSequence or a tensor of 2 axes"):
        PerStep(nn.Linear(3, 2))(x)


def test_a_module_that_returns_other_rows() -> None:
    with pytest.raises(DataError, match=r"must return a tensor of 4 rows. Got \(1, 12\)"):
        PerStep(_Joined())(torch.zeros(2, 2, 3))


class _Joined(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, -1)
