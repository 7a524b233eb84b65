"""Probabilities of ordered classes against SciPy's logistic distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import logistic
from torch import nn

from unspool.heads import Ordered


@pytest.mark.parametrize("starts", [[0.3], [-2.0, -0.5, 1.0], [-1.0, -0.99999, 4.0]])
def test_probabilities_are_differences_of_the_distribution(starts):
    head = Ordered(nn.Identity(), torch.tensor(starts)).double()
    s = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    cuts = head.thresholds.detach().numpy()
    assert (np.diff(cuts) > 0).all()
    below = logistic.cdf(cuts - s.numpy())
    edges = np.concatenate([np.zeros((7, 1)), below, np.ones((7, 1))], 1)
    np.testing.assert_allclose(head(s).exp().detach().numpy(), np.diff(edges, axis=1), rtol=1e-6)


def test_thresholds_start_where_they_are_told():
    starts = torch.tensor([-1.5, 0.2, 0.9])
    torch.testing.assert_close(Ordered(nn.Identity(), starts).thresholds, starts)


def test_far_scores_and_gradients_are_finite():
    head = Ordered(nn.Identity(), torch.tensor([-1.0, 0.0, 1.0]))
    s = torch.tensor([[-80.0], [0.0], [80.0]], requires_grad=True)
    found = head(s)
    found.sum().backward()
    assert torch.isfinite(found).all() and torch.isfinite(s.grad).all()
    torch.testing.assert_close(found.exp().sum(1), torch.ones(3))
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
