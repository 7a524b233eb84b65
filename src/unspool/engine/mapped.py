"""A native backward for many gradients of its results at once (`is_grads_batched=True`): one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Gradients = Callable[[Sequence[Any]], Sequence[Any]]
_inside = torch._C._functorch


def is_mapped(tensor: Tensor | None) -> bool:
    """Whether torch.vmap, or the one inside of torch.autograd, maps over `tensor`."""
    return tensor is not None and (
        _inside.is_functorch_wrapped_tensor(tensor) or _inside.is_legacy_batchedtensor(tensor)
    )


def one_by_one(gradients: Gradients, d_results: Sequence[Any]) -> list[Any]:
    """`gradients(d_results)`, of which `is_mapped` is true for some."""
    if any(d is not None and _inside.is_legacy_batchedtensor(d) for d in d_results):
        return _of_autograd(gradients, d_results)
    missing: list[bool] = []

    def noted(d_results: Sequence[Any]) -> list[Tensor]:
        grads = gradients(d_results)
        missing[:] = [grad is None for grad in grads]
        return [grad for grad in grads if grad is not None]

    found = iter(_EachOf.apply(noted, *d_results))
    return [None if left_out else next(found) for left_out in missing]


def _of_autograd(gradients: Gradients, d_results: Sequence[Any]) -> list[Any]:
    """Inside the vmap of `torch.autograd.grad(..., is_grads_batched=True)`, which is not torch.vmap."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    # the mapped axis first; of 1 where this vmap does not map
    plain = [None if d is None else torch._remove_batch_dim(d, level, 1, 0) for d in d_results]
    size = max(d.shape[0] for d in plain if d is not None)
    each = [gradients([None if d is None else d[i % len(d)] for d in plain]) for i in range(size)]
    joined = [None if grad[0] is None else torch.stack(grad) for grad in zip(*each)]
    return [None if grad is None else torch._add_batch_dim(grad, 0, level) for grad in joined]


class _EachOf(torch.autograd.Function):
    """How torch.vmap goes through `gradients`."""

    @staticmethod
    def forward(gradients: Gradients, *d_results: Tensor | None) -> tuple[Tensor, ...]:
        return tuple(gradients(d_results))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, gradients: Gradients, *d_results: Any) -> Any:
        each = []
        for i in range(info.batch_size):
            own = [d if axis is None else d.select(axis, i) for d, axis in zip(d_results, in_dims[1:])]
            each.append(_EachOf.apply(gradients, *own))
        grads = tuple(torch.stack(grad) for grad in zip(*each))
        return grads, (0,) * len(grads)
