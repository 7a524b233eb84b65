"""Activation functions of layers without a state, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unspool.cells import ACTIVATIONS

#: The cells' functions, and those that only layers without a state have here.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **ACTIVATIONS,
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "exponential": torch.exp,
    "selu": functional.selu,
    "relu6": functional.relu6,
    "mish": functional.mish,
    "hard_silu": functional.hardswish,
    "leaky_relu_0.2": lambda x: functional.leaky_relu(x, 0.2),
    "celu": functional.celu,
    "hard_tanh": functional.hardtanh,
    "hard_shrink": functional.hardshrink,
    "soft_shrink": functional.softshrink,
    "tanh_shrink": functional.tanhshrink,
    "log_sigmoid": functional.logsigmoid,
    "squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
}
