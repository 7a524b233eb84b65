"""In evaluation a row has the same numbers in any batch."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from unspool.heads import DenseHead
from unspool.nn.stack import Highway


def test_a_head_works_row_by_row() -> None:
    torch.manual_seed(0)
    head, x = DenseHead(67, 3, (9,), 0.5, beside=2).eval(), torch.randn(40, 69)
    with torch.no_grad():
        whole = head(x[:, :67], x[:, 67:])
        torch.testing.assert_close(whole, nn.Sequential(*head.layers)(x))
        for n in (1, 2, 7, 39):
            assert torch.equal(head(x[:n, :67], x[:n, 67:]), whole[:n])
        for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
            assert torch.equal(twin(x[:5, :67], x[:5, 67:]), whole[:5])
        head.layers[1].weight.mul_(2)  # type: ignore[operator]
        assert not torch.equal(head(x[:5, :67], x[:5, 67:]), whole[:5])
        assert torch.equal(twin(x[:5, :67], x[:5, 67:]), whole[:5])
    assert set(head.state_dict()) == {f"layers.{i}.{name}" for i in (1, 4) for name in ("weight", "bias")}


def test_a_highway_works_row_by_row() -> None:
    torch.manual_seed(0)
    highway, x, h = Highway(33).eval(), torch.randn(40, 33), torch.randn(40, 33)
    with torch.no_grad():
        whole = highway(x, h)
        assert torch.equal(highway(x[7:8], h[7:8]), whole[7:8])
        assert torch.equal(highway(x[:3], h[:3]), whole[:3])
        gate = torch.sigmoid(x @ highway.gate.weight.T + highway.gate.bias)
        torch.testing.assert_close(whole, gate * h + (1 - gate) * x)
        torch.testing.assert_close(
            highway.double()(x.double(), h.double()), whole.double(), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("training", [False, True])
def test_gradients_flow_as_before(training: bool) -> None:
    torch.manual_seed(0)
    head, x = DenseHead(5, 3).train(training), torch.randn(4, 5, requires_grad=True)
    head(x).sum().backward()
    assert x.grad is not None and all(p.grad is not None for p in head.parameters())
