"""Learning rates over a training, against torch's own schedulers and by hand."""

from __future__ import annotations

import pytest
import torch

from unspool.training.schedules import SCHEDULES, factor


def torchs(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs():
    expected = torchs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40), 40)
    assert [factor("cosine", i, 40) for i in range(40)] == pytest.approx(expected)


def test_linear_is_torchs():
    expected = torchs(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, 40), 40)
    assert [factor("linear", i, 40) for i in range(40)] == pytest.approx(expected)


def test_one_cycle_is_torchs():
    # torch counts its 30 % up to step 0.3 * 100 - 1 of 100, ours of the 100 as a share: the same on this grid
    expected = torchs(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, 101, pct_start=31 / 101, final_div_factor=1e9),
        100,
    )
    assert [factor("one_cycle", i, 100) for i in range(100)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_to_the_full_rate_then_the_schedule_begins(name):
    rates = [factor(name, i, 50, warmup=10) for i in range(50)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert rates[10:] == pytest.approx([factor(name, i, 40) for i in range(40)])


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_beyond_the_last_stay_at_its_rate(name):
    assert 0 <= factor(name, 70, 50) <= 1
    assert factor(name, 70, 50) == factor(name, 50, 50)
    assert factor(name, 0, 0) == factor(name, 0, 1)
