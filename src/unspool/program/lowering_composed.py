"""Lowerings written in other operations of torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unspool.program.inner import composed
from unspool.program.layout import Unsupported


@composed("any")
def _any(a: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    if dim is None:
        raise Unsupported("'any' of all numbers: over the batch")
    return torch.amax((a != 0).to(torch.float32), dim, keepdim) != 0


@composed("all")
def _all(a: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    if dim is None:
        raise Unsupported("'all' of all numbers: over the batch")
    return torch.amin((a != 0).to(torch.float32), dim, keepdim) != 0


@composed("_cdist_forward", "_euclidean_dist")
def _cdist(a: Tensor, b: Tensor, p: float = 2.0, mode: int | None = None) -> Tensor:
    if p not in (1, 2):
        raise Unsupported(f"a distance of order {p}")
    return torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1)


@composed("native_batch_norm")
def _batch_norm(
    a: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> list[Any]:
    """By the running mean and variance."""
    if training or mean is None or variance is None:
        raise Unsupported(OVER_THE_BATCH)
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    shape = (-1, *(1,) * (a.dim() - 2))
    return [a * scale.reshape(shape) + shift.reshape(shape), None, None]


OVER_THE_BATCH = "batch normalisation by the batch's own mean and variance, as in training"


@composed("mkldnn_rnn_layer")
def _lstm_layer(
    x: Tensor,
    w: Tensor,
    u: Tensor,
    w_bias: Tensor,
    u_bias: Tensor,
    h: Tensor,
    c: Tensor,
    reverse: bool,
    batch_sizes: list[int],
    mode: int,
    hidden_size: int,
    num_layers: int,
    has_biases: bool,
    bidirectional: bool,
    *rest: bool,
) -> list[Any]:
    """A layer of `torch.nn.LSTM`, in one direction: x (T, B, F)."""
    if batch_sizes or mode != 2 or num_layers != 1 or bidirectional:
        raise Unsupported("the operation 'aten.mkldnn_rnn_layer' with these settings")
    outputs = [x] * len(x)
    for step in reversed(range(len(x))) if reverse else range(len(x)):
        gates = x[step] @ w.t() + h @ u.t()
        gates = gates + w_bias + u_bias if has_biases else gates
        i, f, g, o = gates.split(hidden_size, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = outputs[step] = o.sigmoid() * c.tanh()
    return [torch.stack(outputs), h, c, None]


@composed("index_add")
def _index_add(tensor: Tensor, dim: int, index: Tensor, source: Tensor, alpha: float = 1) -> Tensor:
    """A product by which row goes where."""
    to = (index.unsqueeze(1) == torch.arange(tensor.shape[dim])).to(tensor.dtype)
    return tensor + (alpha * (source.movedim(dim, -1) @ to)).movedim(-1, dim)


@composed("cumprod")
def _cumprod(a: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """One number after the other."""
    parts = list(a.unbind(dim))
    for k in range(1, len(parts)):
        parts[k] = parts[k - 1] * parts[k]
    return torch.stack(parts, dim)
