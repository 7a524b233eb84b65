"""What works on each row alone, with numbers that do not depend on the rows beside it.

The order in which torch adds up a product follows from how many rows it has, so that a prediction would differ in its
last bits with the batch that it is in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unspool.engine.dispatch import Direction, choose, run
from unspool.engine.ready import Ready, calls_can_be_ready


class OfRows(nn.Module):
    """Base of what works on rows, as a cell: x (B, F), state (y (B, K), *others) -> (of(x, *others), *others).

    It knows the modules that it needs, and not the one that it is a part of.
    """

    def of(self, x: Tensor, *others: Tensor) -> Tensor:
        """(B, K)."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.of(x, *state[1:]), *state[1:])


def row_by_row(owner: nn.Module, cell: OfRows, width: int, x: Tensor, *others: Tensor) -> Tensor:
    """cell.of(x, *others) (B, width); of float32 on the CPU, in evaluation and without gradients, each row as if it
    were the only one. owner: the module that keeps the call ready for the next time.
    """
    alone = (
        not (owner.training or torch.is_grad_enabled()) and calls_can_be_ready() and x.dim() == 2 and x.is_cpu
    )
    if not alone or any(t.dtype is not torch.float32 for t in (x, *others, *cell.parameters())):
        return cell.of(x, *others)
    ready: Ready | None = owner.__dict__.get("_ready")
    state = (x.new_zeros(len(x), width), *others)
    if ready is not None and ready.holds(width):
        tensors = ready.tensors([Direction(cell)] if ready.weights is None else [], [state])
        found = None if tensors is None else ready.run(x.unsqueeze(1), None, None, tensors)
        if found is not None:
            return found[0][:, 0]
    direction, offsets = Direction(cell), torch.arange(len(x) + 1, dtype=torch.int64, device="cpu")
    native = choose([direction], x, [state]).engine == "native"
    owner.__dict__["_ready"] = Ready([direction], x.shape[1], [state], width) if native else None
    return run([direction], x, offsets, [state])[0]
