"""Likelihoods against SciPy's distributions and torch's, and what they are least at."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import mean_gamma_deviance

from unspool.training.likelihoods import LIKELIHOODS

SCALE = torch.tensor([2.0, 0.5, 30.0], dtype=torch.float64)


def made(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    prediction = torch.randn(6, 3 * LIKELIHOODS[name].outputs, dtype=torch.float64)
    target = torch.randint(0, 9, (6, 3)).double()
    return prediction, target + (0.7 if name in ("gamma", "lognormal") else 0)


def theirs(name: str, prediction: torch.Tensor, y: np.ndarray) -> np.ndarray:
    first, *second = prediction.chunk(LIKELIHOODS[name].outputs, 1)
    mean = (SCALE * first.exp()).numpy()
    if name == "poisson":
        return -scipy.stats.poisson.logpmf(y, mean) / SCALE.numpy()
    if name == "gamma":  # of shape 1
        return -scipy.stats.gamma.logpdf(y, 1, scale=mean)
    if name == "lognormal":
        return -scipy.stats.lognorm.logpdf(y, second[0].exp().numpy(), scale=mean)
    r = (-second[0]).exp().numpy()
    ours = -scipy.stats.nbinom.logpmf(y, r, r / (r + mean))
    twin = torch.distributions.NegativeBinomial(
        torch.tensor(r), logits=torch.tensor(np.log(mean) - np.log(r))
    )
    np.testing.assert_allclose(ours, -twin.log_prob(torch.tensor(y)).numpy(), rtol=1e-9)
    return ours


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_values_are_those_of_the_distributions(name):
    prediction, target = made(name)
    loss = LIKELIHOODS[name]()
    loss.scale = SCALE
    expected = theirs(name, prediction, target.numpy())
    np.testing.assert_allclose(loss.errors(prediction, target).numpy(), expected.mean(1), rtol=1e-8)
    assert loss(prediction, target).item() == pytest.approx(expected.mean())
    assert loss.errors(prediction.float(), target.float()).dtype == torch.float32


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_are_finite_far_out(name):
    loss = LIKELIHOODS[name]()
    loss.scale = SCALE[:1]
    far = torch.tensor([[v] * loss.outputs for v in (-60.0, 60.0, 0.0)], requires_grad=True)
    found = loss(far, torch.tensor([[1.0], [3.0], [2e5]]))
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(far.grad).all()


def test_the_mean_of_a_lognormal_is_scipys():
    loss = LIKELIHOODS["lognormal"]()
    outputs = np.array([[0.3, -0.5], [1.0, 0.2]])
    expected = scipy.stats.lognorm.mean(np.exp(outputs[:, 1]), scale=np.exp(outputs[:, 0]))
    np.testing.assert_allclose(np.exp(loss.log_mean(outputs))[:, 0], expected)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_best_constant_has_the_mean(name):
    random = np.random.default_rng(0)
    y = random.negative_binomial(2, 0.3, (4000, 1)) if name in ("poisson", "negative_binomial") else None
    y = random.lognormal(1, 0.4, (4000, 1)) if y is None else y
    loss = LIKELIHOODS[name]()
    loss.scale = torch.ones(1, dtype=torch.float64)
    guess = torch.zeros(1, loss.outputs, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([guess], max_iter=200)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(guess.expand(4000, loss.outputs), torch.tensor(y, dtype=torch.float64))
        value.backward()
        return value

    optimizer.step(step)
    mean = float(np.exp(loss.log_mean(guess.detach().numpy()))[0, 0])
    assert mean == pytest.approx(y.mean(), rel=0.01)
    if name == "gamma":
        constant = [mean_gamma_deviance(y[:, 0], np.full(4000, m)) for m in (0.97 * mean, mean, 1.03 * mean)]
        assert constant[1] == min(constant)
