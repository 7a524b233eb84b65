"""The sum over all paths of a linear chain, and its gradient, for a batch at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unspool.heads.steps import TimeMajor

SMALLEST = 1e-130  # a step's sum below that may have lost paths to the end of float64's range, 1e-308


def log_partition(e: Tensor, transitions: Tensor, start: Tensor, end: Tensor, steps: TimeMajor) -> Tensor:
    """(S,): log Σ exp score over the paths of each sequence.

    e (N, K) in the order of time, transitions (K, K), start, end (K,): float64, -inf where a path may not go.
    By products of probabilities (Rabiner 1989, section V.A: scaled at each step), several times faster than sums of
    logarithms; where their range does not suffice, by `log_partition_plain`.
    """
    found, smallest = _Sum.apply(e, transitions, start, end, steps)
    if len(e) and not bool(smallest > SMALLEST):
        return log_partition_plain(e, transitions, start, end, steps)
    return found


def log_partition_plain(
    e: Tensor, transitions: Tensor, start: Tensor, end: Tensor, steps: TimeMajor
) -> Tensor:
    """As `log_partition`, by its definition: log-sum-exp step by step, torch's own gradients."""
    if not len(e):
        return e.new_zeros(0) + 0 * (transitions.exp().sum() + start.exp().sum() + end.exp().sum())
    rows = start + steps.at(e, 0)
    ended = []
    for time in range(1, len(steps)):
        size = steps.sizes[time]
        ended.append(rows[size:])
        rows = _log_sum(rows[:size, :, None] + transitions) + steps.at(e, time)
    return _log_sum((torch.cat([rows, *reversed(ended)]) + end)[:, :, None])[:, 0]


def _log_sum(x: Tensor) -> Tensor:
    """(B, K, L) -> (B, L): log-sum-exp over K, whose gradient is 0 where all of it is -inf."""
    dead = x.isneginf().all(1, keepdim=True)
    return x.masked_fill(dead, 0).logsumexp(1).masked_fill(dead[:, 0], -torch.inf)


class _Sum(torch.autograd.Function):
    """log Z by the forward recursion, its gradient (the marginals) by the backward one."""

    @staticmethod
    def forward(ctx: Any, e: Tensor, a: Tensor, start: Tensor, end: Tensor, steps: TimeMajor) -> Any:
        peak = e.amax(1, keepdim=True) if len(e) else e.new_zeros(0, 1)
        p, moves = (e - peak).exp(), a.exp()
        alpha, scale = torch.empty_like(p), torch.empty_like(peak)
        for time in range(len(steps)):
            here = steps.at(p, time)
            if time:
                reached = steps.at(alpha, time - 1)[: len(here)] @ moves
            else:
                reached = start.exp().expand_as(here)
            rows = torch.mul(reached, here, out=steps.at(alpha, time))
            rows /= torch.sum(rows, 1, keepdim=True, out=steps.at(scale, time))
        ends = alpha[steps.last] @ end.exp()
        logs = (scale.log() + peak)[:, 0]
        ctx.save_for_backward(p, moves, alpha, scale, ends, end.exp())
        ctx.steps = steps
        smallest = torch.minimum(scale.min(), ends.min()) if len(e) else e.new_ones(())
        ctx.mark_non_differentiable(smallest)
        return ends.log().index_add(0, steps.owner, logs), smallest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Any) -> Any:
        p, moves, alpha, scale, ends, end = ctx.saved_tensors
        steps: TimeMajor = ctx.steps
        beta = torch.empty_like(p)  # what comes after a step, given its tag
        into = torch.empty_like(p)  # p beta / scale: what comes from a step on
        after = p[:0]
        for time in reversed(range(len(steps))):
            size, rows = steps.sizes[time], steps.at(beta, time)
            rows[: len(after)] = after @ moves.T
            rows[len(after) :] = end / ends[len(after) : size, None]
            after = torch.mul(rows, steps.at(p, time), out=steps.at(into, time))
            after /= steps.at(scale, time)
        weight = gradient[steps.owner][:, None]
        marginals = alpha * beta * weight
        first = len(steps.sequences)
        pairs = moves * (alpha[steps.previous].T @ (into[first:] * weight[first:]))
        return marginals, pairs, marginals[:first].sum(0), marginals[steps.last].sum(0), None
