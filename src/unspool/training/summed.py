"""Gradients summed over the ranks of a group, in buckets; those that are sparse by the rows that any rank has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from unspool.training.optimizers import RowAdam, coalesced

BUCKET = 2**22  # numbers; one is on its way while the next is filled


def sum_gradients(
    optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[Tensor], wire: torch.device
) -> None:
    """Give every parameter the sum of its gradients; None where it has one on no rank. wire: where the group sends."""
    have = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8).to(wire)
    dist.all_reduce(have, dist.ReduceOp.MAX)
    dense: list[Tensor] = []
    for parameter, any_rank in zip(parameters, have.tolist()):
        if not any_rank:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad.is_sparse:
            parameter.grad = _union(parameter.grad, wire)
            for optimizer in optimizers:
                if isinstance(optimizer, RowAdam):
                    optimizer.catch_up(parameter, parameter.grad._indices()[0])
            dense.append(parameter.grad._values())
        else:
            dense.append(parameter.grad)
    sent = []
    for bucket in _buckets(dense):
        flat = torch.cat([t.reshape(-1) for t in bucket]).to(wire)
        sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in sent:
        work.wait()
        for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket])):
            tensor.copy_(part.view_as(tensor))


def _union(grad: Tensor, wire: torch.device) -> Tensor:
    """`grad` (V, E), sparse in its rows, with zeros in the rows that other ranks have."""
    grad = coalesced(grad)
    rows = grad._indices()[0]
    touched = torch.zeros(len(grad), dtype=torch.uint8, device=rows.device)
    touched[rows] = 1
    touched = touched.to(wire)
    dist.all_reduce(touched, dist.ReduceOp.MAX)
    every = touched.to(rows.device).nonzero()[:, 0]
    values = grad._values().new_zeros(len(every), *grad.shape[1:])
    values[torch.searchsorted(every, rows)] = grad._values()
    return torch.sparse_coo_tensor(every[None], values, grad.shape, is_coalesced=True, check_invariants=False)


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """In order, each of one dtype and, but for the last tensor, of at most BUCKET numbers."""
    found: list[list[Tensor]] = []
    size = 0
    for tensor in tensors:
        if not found or size >= BUCKET or found[-1][0].dtype != tensor.dtype:
            found.append([])
            size = 0
        found[-1].append(tensor)
        size += tensor.numel()
    return found
