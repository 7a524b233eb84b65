"""Masks that are drawn natively: torch's own numbers, bit for bit, and its generator's state afterwards."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from unspool import _native
from unspool.errors import DataError
from unspool.nn import draws, masks

LIKE = torch.ones(1)


def test_every_size_place_and_share() -> None:
    rng = random.Random(0)
    assert masks._agrees()
    for seed in range(400):
        torch.manual_seed(seed)
        torch.rand(rng.randrange(1300))
        size = rng.choice([1, 2, 311, 312, 313, 623, 624, 625, rng.randrange(3000)])
        keep = rng.choice([0.0, 1.0, 0.5, 0.3, 1e-7, rng.random()])
        state = torch.get_rng_state()
        wanted, after = torch.empty(size).bernoulli_(keep), torch.get_rng_state()
        got = torch.empty(size)
        _native.keep_mask(state.view(torch.int64), got, size, keep, 1.0)
        assert torch.equal(got, wanted) and torch.equal(state, after), (seed, size, keep)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9, 1 / 3])
def test_dropout_is_torchs_with_its_gradient(rate: float) -> None:
    x = torch.randn(40, 70, requires_grad=True)
    results = []
    for layer in (nn.Dropout(rate), draws.Dropout(rate)):
        torch.manual_seed(3)
        y = layer(x)
        (gradient,) = torch.autograd.grad((y * y).sum(), x)
        results.append((y, gradient, masks.ones(LIKE, (50, 60), rate), torch.rand(2)))
    for wanted, got in zip(*results, strict=True):
        assert torch.equal(got, wanted)
    torch.manual_seed(3)
    mask = masks.kept(LIKE, (40, 70), rate)
    torch.manual_seed(3)
    assert torch.equal(mask, nn.functional.dropout(torch.ones(40, 70), rate))


def test_who_draws() -> None:
    assert masks.drawn(LIKE, (2, 1000), 0.5) is not None
    assert masks.drawn(LIKE, (2, 100), 0.5) is None  # torch, for few
    assert masks.drawn(LIKE.double(), (2, 1000), 0.5) is None
    assert masks.drawn(LIKE.to("meta"), (2, 1000), 0.5) is None
    assert masks.drawn(LIKE, (2, 1000), 1.0) is None and masks.drawn(LIKE, (2, 1000), 0.0) is None
    with FakeTensorMode():
        assert masks.drawn(torch.ones(1), (2, 1000), 0.5) is None
    torch.set_default_dtype(torch.float64)
    try:
        mask = masks.drawn(LIKE, (2, 1000), 0.5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert mask is not None and mask.dtype == torch.float32 and set(mask.unique().tolist()) == {0.0, 2.0}


def test_what_the_native_function_refuses() -> None:
    state, mask = torch.get_rng_state(), torch.empty(4)
    with pytest.raises(DataError, match="from 0 to 1"):
        _native.keep_mask(state.view(torch.int64), mask, 4, 1.5, 1.0)
    with pytest.raises(DataError, match="CPU generator"):
        _native.keep_mask(torch.zeros(632, dtype=torch.int64), mask, 4, 0.5, 1.0)
    with pytest.raises(Exception, match="shape"):
        _native.keep_mask(state.view(torch.int64), mask, 5, 0.5, 1.0)
