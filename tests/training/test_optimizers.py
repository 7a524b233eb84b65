"""RowAdam and gradient clipping against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unspool.training.optimizers import RowAdam, clip_gradients


def grown(optimizer_of, sparse: bool, batches: list[torch.Tensor]) -> torch.Tensor:
    torch.manual_seed(0)
    table = nn.Embedding(6, 3, sparse=sparse)
    optimizer = optimizer_of([table.weight])
    target = torch.randn(6, 3)
    for ids in batches:
        optimizer.zero_grad()
        ((table(ids) - target[ids]) ** 2).sum().backward()
        optimizer.step()
    return table.weight.detach()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_table_touched_everywhere_gets_adamw(decay: float) -> None:
    batches = [torch.tensor([0, 1, 2, 3, 4, 5, 5, 0])] * 30
    ours = grown(lambda p: RowAdam(p, lr=0.05, weight_decay=decay), True, batches)
    torchs = grown(lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=decay), False, batches)
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)


def test_untouched_rows_follow_sparse_adam() -> None:
    torch.manual_seed(1)
    batches = [torch.randint(0, 5, (4,)) for _ in range(30)]
    ours = grown(lambda p: RowAdam(p, lr=0.05), True, batches)
    torchs = grown(lambda p: torch.optim.SparseAdam(p, lr=0.05), True, batches)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5)
    assert torch.equal(ours[5], grown(lambda p: RowAdam(p), True, [])[5])


@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_over_dense_and_sparse_gradients(limit: float) -> None:
    def parameters(sparse: bool) -> list[torch.Tensor]:
        torch.manual_seed(2)
        table, layer = nn.Embedding(5, 4, sparse=sparse), nn.Linear(4, 2)
        layer(table(torch.tensor([1, 1, 4]))).square().sum().backward()
        return [table.weight, *layer.parameters()]

    ours, torchs = parameters(True), parameters(False)
    norm = clip_gradients(ours, limit)
    assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(torchs, limit)), rel=1e-5)
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one.grad.to_dense(), other.grad, rtol=1e-4, atol=1e-6)
