"""Lowerings written in other operations of torch."""

from __future__ import annotations

import math
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


@composed("max_pool2d_with_indices")
def _max_pool(
    a: Tensor, kernel: list[int], stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> list[Any]:
    if ceil or any(n != 1 for n in _both(dilation)):
        raise Unsupported("largest numbers of windows with dilation or a last one that is cut off")
    (high, wide), (down, across), (top, left) = _both(kernel), _both(stride or kernel), _both(padding)
    a = torch.constant_pad_nd(a, (left, left, top, top), -math.inf) if top or left else a
    windows = a.unfold(-2, high, down).unfold(-2, wide, across)
    return [windows.flatten(-2).max(-1).values, None]


def _both(setting: Any) -> Any:
    return (
        setting * 2
        if isinstance(setting, (list, tuple)) and len(setting) == 1
        else (setting if isinstance(setting, (list, tuple)) else (setting, setting))
    )


@composed("bucketize")
def _bucketize(a: Tensor, edges: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """How many edges lie below; NaN lies beyond all."""
    apart = a.unsqueeze(-1)
    return (~(apart < edges if right else apart <= edges)).sum(-1)


@composed("searchsorted")
def _searchsorted(edges: Tensor, a: Tensor, *, right: bool = False, **rest: Any) -> Tensor:
    if edges.dim() != 1 or rest.get("side") or rest.get("sorter") is not None:
        raise Unsupported("'aten.searchsorted' with these arguments")
    return _bucketize(a, edges, right=right)


@composed("tril")
def _lower_triangle(a: Tensor, diagonal: int = 0) -> Tensor:
    rows, columns = (torch.arange(n) for n in a.shape[-2:])
    return torch.where(columns - rows.unsqueeze(1) <= diagonal, a, 0.0)


@composed("triu")
def _upper_triangle(a: Tensor, diagonal: int = 0) -> Tensor:
    rows, columns = (torch.arange(n) for n in a.shape[-2:])
    return torch.where(columns - rows.unsqueeze(1) >= diagonal, a, 0.0)


@composed("diag_embed")
def _diagonal_matrix(a: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    if (offset, dim1, dim2) != (0, -2, -1):
        raise Unsupported("'aten.diag_embed' beside the diagonal, or of other axes than the last")
    places = torch.arange(a.shape[-1])
    return torch.where(places.unsqueeze(1) == places, a.unsqueeze(-1), 0.0)


@composed("constant_pad_nd")
def _padded(a: Tensor, pads: list[int], number: float = 0.0) -> Tensor:
    """From the last axis on; a negative width cuts off."""
    for k, (before, after) in enumerate(zip(pads[::2], pads[1::2])):
        dim = a.dim() - 1 - k
        cut = a.shape[dim] + min(before, 0) + min(after, 0)
        a = a.narrow(dim, max(-before, 0), cut) if cut < a.shape[dim] else a
        ends = [[*a.shape[:dim], max(n, 0), *a.shape[dim + 1 :]] for n in (before, after)]
        first, last = (torch.full(shape, number, dtype=a.dtype) for shape in ends)
        a = torch.cat([part for part in (first, a, last) if part.shape[dim]], dim)
    return a


@composed("reflection_pad1d")
def _reflected(a: Tensor, pads: list[int]) -> Tensor:
    before, after = pads
    n = a.shape[-1]
    return torch.cat([a.narrow(-1, 1, before).flip(-1), a, a.narrow(-1, n - 1 - after, after).flip(-1)], -1)


@composed("replication_pad1d")
def _repeated_ends(a: Tensor, pads: list[int]) -> Tensor:
    return torch.cat([*[a[..., :1]] * pads[0], a, *[a[..., -1:]] * pads[1]], -1)


@composed("index_copy")
def _index_copy(a: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    return placed(a, dim, index, source)


@composed("index_fill")
def _index_fill(a: Tensor, dim: int, index: Tensor, number: Any) -> Tensor:
    return placed(a, dim, index, number)


def placed(a: Tensor, dim: int, index: Tensor, source: Any) -> Tensor:
    """`a` with what `source` has, or a number, at places of an axis, the same for all; of equal places the last."""
    at = index.unsqueeze(1) == torch.arange(a.shape[dim])
    last = at.flip(0).cumsum(0).flip(0) == 1
    to = at & last
    whole = a.movedim(dim, -1)
    if isinstance(source, Tensor) and source.dim():
        shape = [len(index) if d == dim % a.dim() else n for d, n in enumerate(a.shape)]
        source = torch.where(to, source.expand(shape).movedim(dim, -1).unsqueeze(-1), 0.0).sum(-2)
    return torch.where(to.sum(0) > 0, source, whole).movedim(-1, dim)
