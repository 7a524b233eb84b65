"""Products in bfloat16 and in steps of 1/127 by torch's own operations, in the place of those in a cell's step.

Last, cells whose products round what they multiply in gradients, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unspool.cells import GRUCell, LSTMCell
from unspool.state import flatten, unflatten


def in_bfloat16(a: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """What `a` rounds to; no scale; which numbers lie so near to half a step that a last digit decides."""
    rounded = a.to(torch.bfloat16).double()
    step = 2.0 ** (torch.frexp(a.double()).exponent - 8)
    return rounded, torch.ones(1).double(), ((a.double() - rounded).abs() / step - 0.5).abs() < 1e-3


def in_127_steps(a: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers in [-127, 127], the step of each line along `axis`, and which numbers lie near half a step.

    A line of zeros has step 0; one with NaN or inf is NaN.
    """
    step = a.abs().amax(axis, keepdim=True) / 127
    step = torch.where(step.isfinite(), step, torch.nan)
    steps = torch.where(step == 0, 0.0, (a / step).double())
    return steps.round(), step.double(), (steps - steps.floor() - 0.5).abs() < 1e-4


FORMS: dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]]] = {
    "bfloat16": in_bfloat16,
    "int8": in_127_steps,
}


class Narrow(TorchFunctionMode):
    """Inside it, `linear` and `@` multiply what `form` makes of both their operands, and sum in float64.

    unsure (B,): the rows with an operand near half a step. The engine's may round to the other side: its sigmoid and
    tanh differ in the last digit, and it multiplies by 1 / step where the oracle divides.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = FORMS[form]
        self.unsure: Any = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.linear:
            x, weight, bias = (*args, *(kwargs or {}).values(), None)[:3]
            product = self.multiply(x, weight.t())
            return product if bias is None else product + bias
        if func in (torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__):
            return self.multiply(*args)
        return func(*args, **(kwargs or {}))

    def multiply(self, x: Tensor, matrix: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            (a, row, near), (b, column, _) = self.form(x, 1), self.form(matrix, 0)
            self.unsure = self.unsure | near.any(1)
            return (a @ b * row * column).float()


def plain_loop(cell: Any, form: str, x: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Any, Tensor]:
    """Output (B, T, H), final state and unsure sequences (B,) of `cell` over padded x (B, T, F), products narrow."""
    leaves = [leaf.clone() for leaf in flatten(state)]
    output = torch.zeros(*x.shape[:2], leaves[0].shape[1])
    unsure = torch.zeros(len(x), dtype=torch.bool)
    with torch.no_grad():
        for t in range(x.shape[1]):
            alive = lengths > t
            with Narrow(form) as mode:
                new = flatten(cell(x[alive, t], unflatten(state, [leaf[alive] for leaf in leaves])))
            unsure[alive] |= mode.unsure
            for leaf, values in zip(leaves, new):
                leaf[alive] = values
            output[alive, t] = new[0]
    return output, unflatten(state, leaves), unsure


def rounded(t: Tensor) -> Tensor:
    return t.to(torch.bfloat16).to(t.dtype)


class Product(torch.autograd.Function):
    """x Wᵀ of rounded numbers, forward and backward; sums in the numbers' own type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return rounded(x) @ rounded(weight).t()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return rounded(g) @ rounded(weight), rounded(g).t() @ rounded(x)


class RoundedLSTM(LSTMCell):
    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = state
        gates = (
            Product.apply(x, self.weight_ih) + self.bias_ih + Product.apply(h, self.weight_hh) + self.bias_hh
        )
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class RoundedGRU(GRUCell):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        r, z, n = (Product.apply(x, self.weight_ih) + self.bias_ih).chunk(3, dim=-1)
        hr, hz, hn = (Product.apply(h, self.weight_hh) + self.bias_hh).chunk(3, dim=-1)
        r, z = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
        return (1 - z) * torch.tanh(n + r * hn) + z * h
