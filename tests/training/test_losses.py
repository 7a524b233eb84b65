"""Losses against torch's modules and scikit-learn's, and what they are least at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch import nn

from unspool.training.losses import NUMBERS, ClassLoss, NumberLoss

torch.manual_seed(0)
PREDICTION, TARGET = torch.randn(7, 3), torch.randn(7, 3).abs()


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("squared", nn.MSELoss()),
        ("absolute", nn.L1Loss()),
        ("huber", nn.HuberLoss()),
        ("quantile", lambda p, t: torch.tensor(mean_pinball_loss(t.numpy(), p.numpy(), alpha=0.8))),
    ],
)
def test_values_are_those_of_others(name, theirs):
    found = NumberLoss(name, 0.8)(PREDICTION, TARGET)
    torch.testing.assert_close(found, theirs(PREDICTION, TARGET).to(found))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_row_has_the_mean_of_its_targets(name):
    loss = NumberLoss(name, 0.3)
    each = torch.stack([loss(PREDICTION[i : i + 1], TARGET[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(loss.errors(PREDICTION, TARGET), each)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("squared", np.mean), ("absolute", np.median), ("quantile", lambda y: np.quantile(y, 0.9))],
)
def test_the_best_constant_is_the_mean_the_median_or_the_quantile(name, expected):
    y = torch.tensor(np.random.default_rng(0).exponential(size=(999, 1)))
    guess = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([guess], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        NumberLoss(name, 0.9)(guess.expand(999, 1), y).backward()
        optimizer.step()
    assert guess.item() == pytest.approx(expected(y.numpy()), abs=0.05)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classes_are_torchs_cross_entropy(smoothing):
    target = torch.tensor([0, 2, 1, 1, 0, 2, 2])
    theirs = nn.CrossEntropyLoss(label_smoothing=smoothing)
    torch.testing.assert_close(ClassLoss(smoothing)(PREDICTION, target), theirs(PREDICTION, target))
    with torch.inference_mode():
        torch.testing.assert_close(
            ClassLoss(smoothing)(PREDICTION, target), nn.CrossEntropyLoss()(PREDICTION, target)
        )
    each = nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")(PREDICTION, target)
    torch.testing.assert_close(ClassLoss(smoothing).errors(PREDICTION, target), each)
    classes = torch.tensor([3.0, 1, 0.5])
    torch.testing.assert_close(
        ClassLoss(smoothing, classes).errors(PREDICTION, target), each * classes[target]
    )
    torch.testing.assert_close(
        ClassLoss(smoothing, classes)(PREDICTION, target), (each * classes[target]).mean()
    )
