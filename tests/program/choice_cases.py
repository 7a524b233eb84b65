"""Steps that choose by values, write into new memory or say their own gradients: functions of two rows of 24."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Surrogate(torch.autograd.Function):
    """A step whose gradient is that of a hill, as of spiking neurons; `slope` has none."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.slope = slope
        out = torch.zeros_like(v)
        out[v > 0] = 1.0
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (v,) = ctx.saved_tensors
        return g / (ctx.slope * v.abs() + 1) ** 2, None


class Swapped(torch.autograd.Function):
    """Two operands, a result that is kept, and a gradient of its own for each."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        y = torch.sigmoid(a) * b.round()
        ctx.save_for_backward(a, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, y = ctx.saved_tensors
        inside = torch.where(a > 0, -g.clone(), 0.0)
        return inside + 2 * g * y, g * torch.max(torch.zeros_like(a), 1 - a)


class Summed(torch.autograd.Function):
    """A gradient that reads the whole row."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return a.round()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g - g.mean(1, keepdim=True)


class Clipped(Summed):
    """A gradient that is not in proportion to the one that comes."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.clamp(-1, 1)


class Two(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        return a.round(), a.floor()

    @staticmethod
    def backward(ctx: Any, g: Tensor, h: Tensor) -> Tensor:
        return g + h


def by_topk(w: Any, a: Tensor, b: Tensor) -> Tensor:
    """Shares of the three best of eight, the others 0."""
    best, places = a.view(-1, 3, 8).topk(3, dim=2)
    share = torch.zeros_like(a.view(-1, 3, 8)).scatter(2, places, best.softmax(2))
    return share * b.view(-1, 3, 8)


def by_mask(w: Any, a: Tensor, b: Tensor) -> Tensor:
    mask = torch.ones_like(a)
    mask.scatter_(1, b.topk(7, 1, largest=False, sorted=False)[1], 0.0)
    return mask.detach() * a


def rows_written(w: Any, a: Tensor, b: Tensor) -> Tensor:
    memory = a.view(-1, 4, 6).clone()
    place = b[:, :4].argmax(-1)
    read = memory[torch.arange(len(a)), place]
    memory[torch.arange(len(a)), place] = b[:, 4:10] * read
    return memory


def items_masked(w: Any, a: Tensor, b: Tensor) -> Tensor:
    out = a * b
    out[a > 0.5] = 0.25
    out[b[:, 0] > 0] = 0.0
    return out.index_put((b > 1,), out.new_full((), 0.5)) + a


def written_in_parts(w: Any, a: Tensor, b: Tensor) -> Tensor:
    out = torch.empty_like(a)
    out[:, ::2] = a[:, ::2] * b[:, 1::2]
    out[:, 1::2] = b[:, ::2]
    new = a.new_empty(len(a), 2, 12)
    new[:, 0].copy_(out[:, :12])
    new[:, 1] = 1.0
    return torch.cat([out, new.flatten(1)], 1)


def without_gradient(w: Any, a: Tensor, b: Tensor) -> Tensor:
    with torch.no_grad():
        size = (a * b).abs_().mean(1, keepdim=True) + 1
        rest = a.clone().mul_(b)
    return a / size + rest


def detached_after(w: Any, a: Tensor, b: Tensor) -> Tensor:
    """What was written into before it is detached may be read."""
    hard = (a * b).relu_()
    soft = torch.tanh(a)
    return (hard + 1).detach() + soft - soft.detach() + hard.detach() * b


def whole_numbers(w: Any, a: Tensor, b: Tensor) -> Tensor:
    place = (a[:, :8].argmax(1, keepdim=True) * 2 + 1).remainder(5) // 2
    count = (b > 0).sum(1, keepdim=True)
    return torch.where(place == 1, a, b) * count.to(a.dtype) / 24 + (count > place).to(a.dtype)


def distances(w: Any, a: Tensor, b: Tensor) -> Tensor:
    few = torch.cdist(a, w.wide) + torch.cdist(b.view(-1, 4, 6), a.view(-1, 4, 6), p=1.0).sum(2)[:, :1]
    return torch.cat([few, torch.cdist(a.view(-1, 12, 2), w.square.view(-1, 2)[:40]).flatten(1)], 1)


def masked_attention(w: Any, a: Tensor, b: Tensor) -> Tensor:
    q, k = a.view(-1, 2, 3, 4), b.view(-1, 2, 3, 4)
    mask = (b[:, None, None, :3] > -0.5) | torch.tensor([True, False, False])
    return F.scaled_dot_product_attention(q, k, k, mask) + F.scaled_dot_product_attention(
        q, k, k, is_causal=True
    )


def batch_norm(w: Any, a: Tensor, b: Tensor) -> Tensor:
    mean, variance = w.row.detach(), w.row.detach().square() + 0.1
    whole = F.batch_norm(b, mean, variance)
    return F.batch_norm(a.view(-1, 3, 8), mean[:3], variance[:3], w.row[3:6], w.row[:3]) * whole.view(
        -1, 3, 8
    )


def square(a: Tensor) -> Tensor:
    """(B, 4, 4), positive definite."""
    m = a[:, :16].view(-1, 4, 4)
    return m @ m.mT / 4 + torch.eye(4, dtype=a.dtype)


def inverses(w: Any, a: Tensor, b: Tensor) -> Tensor:
    m, mixed = square(a), b[:, :9].view(-1, 3, 3).flip(1) + torch.eye(3, dtype=a.dtype).flip(0) * 3
    solved = torch.linalg.solve(m, b[:, :8].view(-1, 4, 2)).flatten(1)
    solved = solved + torch.linalg.solve(m, b[:, :8].view(-1, 2, 4), left=False).flatten(1)
    vector = torch.linalg.solve(m, b[:, :4])
    return torch.cat([torch.linalg.inv(m).flatten(1), torch.linalg.inv(mixed).flatten(1), solved, vector], 1)


def factors(w: Any, a: Tensor, b: Tensor) -> Tensor:
    low = torch.linalg.cholesky(square(a))
    right = b[:, :8].view(-1, 4, 2)
    solved = torch.cholesky_solve(right, low) + torch.linalg.solve_triangular(low, right, upper=False)
    solved = solved - torch.linalg.solve_triangular(low.mT, right, upper=True)
    return torch.cat([low, torch.linalg.cholesky(square(b), upper=True), solved], 2)


def placed(w: Any, a: Tensor, b: Tensor) -> Tensor:
    places = torch.tensor([5, 0, 2])
    out = a.clone()
    out[:, places] = b[:, :3]
    out[:, [7, -8]] = 0.25
    whole = out.view(-1, 3, 8).index_copy(2, places, b[:, :9].view(-1, 3, 3))
    return whole.index_fill(1, torch.tensor([1]), 0.5)


def padded(w: Any, a: Tensor, b: Tensor) -> Tensor:
    """What is chosen of a row with NaN and infinities in it."""
    a = torch.where(b > 1.5, torch.nan, torch.where(b < -1.5, torch.inf, a))
    first = F.pad(a.view(-1, 4, 6), (2, -1, 0, 1), value=0.5).flatten(1)
    rest = [F.pad(a.view(-1, 4, 6), (2, 3), mode).flatten(1) for mode in ("reflect", "replicate")]
    parts = [a[:, [3, -1, 5]], a.view(-1, 3, 8).index_select(2, torch.tensor([0, 0, 4])).flatten(1)]
    square = a.view(-1, 4, 6)
    sides = [square.tril(1), square.triu(-1), torch.diag_embed(a[:, :4])]
    whole = torch.cat([first, *rest, *parts, *(side.flatten(1) for side in sides)], 1)
    return torch.where(whole.isfinite(), whole, whole.isnan().to(a.dtype))


class Rounded(torch.autograd.Function):
    """Of weights alone: their signs, and the gradient where they are small."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.sign(weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return g * (weight.abs() <= 0.5)


def counted(w: Any, a: Tensor, b: Tensor) -> Tensor:
    """Sparsemax (Martins & Astudillo 2016): a threshold read at a place that is a count; and buckets."""
    best = a.sort(1, descending=True).values
    sums, many = best.cumsum(1) - 1, torch.arange(1, 25, dtype=a.dtype)
    kept = (many * best > sums).sum(1, keepdim=True)
    sparse = torch.clamp(a - sums.gather(1, kept - 1) / kept.to(a.dtype), min=0)
    edges = torch.tensor([-1.0, 0.0, 0.5, 1.0], dtype=a.dtype)
    low, high = torch.bucketize(b[:, 0], edges), torch.searchsorted(edges, b[:, 1].contiguous(), right=True)
    return sparse * b + w.wide[low] * F.one_hot(high, 5)[:, :1]


CASES: dict[str, Any] = {
    "topk": lambda w, a, b: (
        a.topk(5, 1).values * b[:, :5] + a.view(-1, 3, 8).topk(2, 1, False)[0].sum((1, 2))[:, None]
    ),
    "topk equal": lambda w, a, b: (
        b.gather(1, (2 * a).round().topk(9, 1)[1]) + (2 * a).round().topk(1, 1)[1] % 3
    ),
    "topk shares": by_topk,
    "topk masked": by_mask,
    "sort": lambda w, a, b: (
        a.sort(1, descending=True).values * b + b.view(-1, 3, 8).sort(1).values.flatten(1)
    ),
    "sort stable": lambda w, a, b: b.gather(1, torch.argsort(a.round(), dim=1, stable=True)),
    "argmax": lambda w, a, b: F.one_hot(a.round().argmax(1), 24).to(a.dtype) * b + a.argmin(1, True) / 24,
    "max and place": lambda w, a, b: (
        a.view(-1, 3, 8).max(2).values
        * b.view(-1, 3, 8).gather(2, a.view(-1, 3, 8).max(2, True)[1]).squeeze(2)
        + a.view(-1, 8, 3).min(1)[1]
    ),
    "gather rows": lambda w, a, b: a.view(-1, 4, 6).gather(
        1, b[:, :4].topk(2, 1)[1].unsqueeze(2).expand(-1, -1, 6)
    ),
    "take_along": lambda w, a, b: torch.take_along_dim(a.view(-1, 3, 8), b.view(-1, 3, 8).argmax(1, True), 1),
    "scatter_add": lambda w, a, b: (
        a.scatter_add(1, b.topk(3, 1)[1], b[:, :3])
        + torch.zeros_like(a).scatter_add(1, torch.tensor([[3, 3, 0]]).expand(len(a), 3), b[:, :3])
    ),
    "scatter a number": lambda w, a, b: a.scatter(1, b.argmax(1, True), 2.0) * b,
    "index_add": lambda w, a, b: a.view(-1, 3, 8).index_add(
        1, torch.tensor([2, 0, 2, 1]), b.view(-1, 4, 6)[..., [0, 1, 2, 3, 4, 5, 0, 1]], alpha=0.5
    ),
    "rows written": rows_written,
    "items masked": items_masked,
    "embedding": lambda w, a, b: (
        F.embedding((2 * a[:, :3]).long().clamp(0, 4), w.wide).sum(1)
        + F.embedding(b[:, :5].argmax(1), w.wide, padding_idx=1)
        + w.wide[a[:, :5].argmin(1)] * b
    ),
    "whole numbers": whole_numbers,
    "any and all": lambda w, a, b: torch.where((a > 1).any(1, True) | (b < 1.5).all(1, keepdim=True), a, b),
    "distances": distances,
    "cumprod": lambda w, a, b: torch.sigmoid(a.view(-1, 4, 6)).cumprod(1) * b.view(-1, 4, 6),
    "attention with a mask": masked_attention,
    "batch norm": batch_norm,
    "lstm layer": lambda w, a, b: w.lstm(
        a.view(-1, 3, 8).transpose(0, 1), (b[:, :5].unsqueeze(0), b[:, 5:10].unsqueeze(0))
    )[0].transpose(0, 1),
    "written in parts": written_in_parts,
    "inverses": inverses,
    "factors": factors,
    "placed": placed,
    "counted": counted,
    "padded": padded,
    "weights alone": lambda w, a, b: a @ Rounded.apply(w.square) * 0.1 + b * Rounded.apply(w.row * 2),
    "windows largest": lambda w, a, b: (
        F.max_pool1d(a.view(-1, 4, 6), 2, padding=1).flatten(1)
        + F.max_pool2d(b.view(-1, 2, 3, 4), (2, 3), 1).flatten(1).repeat(1, 2)
    ),
    "circular": lambda w, a, b: F.pad(a.view(-1, 2, 3, 4), (1, 1, 1, 1), "circular").flatten(1) * b[:, :1],
    "without gradient": without_gradient,
    "detached after": detached_after,
    "surrogate": lambda w, a, b: Surrogate.apply(a - b, 3.0) * b + a,
    "own gradients": lambda w, a, b: Swapped.apply(a, b),
}
