"""The average of the weights, against torch's own and numbers by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unspool.training.averaging import MovingAverage


def walk(module: nn.Module, steps: int):
    for _ in range(steps):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p))
        yield


def test_late_steps_are_torchs_average():
    torch.manual_seed(0)
    module = nn.GRU(3, 5)
    average = MovingAverage(module, 0.9)
    for _ in walk(module, 100):  # from step 90 on the decay is 0.9 itself
        average.update()
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(module)
    for p, mean in zip(theirs.module.parameters(), average.mean):
        p.data.copy_(mean)
    for _ in walk(module, 20):
        average.update()
        theirs.update_parameters(module)
    for mine, expected in zip(average.mean, theirs.module.parameters()):
        torch.testing.assert_close(mine, expected)


def test_first_steps_by_hand():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    average = MovingAverage(module, 0.99)
    for value, expected in ((2.0, 1 + 9 / 11), (3.0, (1 + 9 / 11) * 3 / 12 + 3 * 9 / 12)):
        nn.init.constant_(module.weight, value)
        average.update()
        assert average.mean[0].item() == pytest.approx(expected)


def test_the_weights_are_back_afterwards_even_after_an_error():
    module = nn.Linear(2, 2)
    average = MovingAverage(module, 0.5)
    for _ in walk(module, 3):
        average.update()
    own = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(KeyError), average.in_place():
        for p, mean in zip(module.parameters(), average.mean):
            torch.testing.assert_close(p.detach(), mean)
        raise KeyError
    for p, before in zip(module.parameters(), own):
        assert torch.equal(p, before)


def test_its_state_goes_on_where_it_was():
    torch.manual_seed(1)
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    average = MovingAverage(module, 0.9)
    for _ in walk(module, 5):
        average.update()
    again = MovingAverage(other, 0.9)
    again.load_state_dict(average.state_dict())
    other.load_state_dict(module.state_dict())
    average.update()
    again.update()
    for a, b in zip(average.mean, again.mean):
        assert torch.equal(a, b)


def test_frozen_parameters_are_left_alone():
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert len(MovingAverage(module, 0.9).mean) == 1
