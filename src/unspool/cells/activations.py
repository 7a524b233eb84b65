"""The functions that a cell may be given by name, spelt as in Keras 3.

hard_sigmoid is clip(x / 6 + 0.5, 0, 1), as in Keras 3 and torch; Keras 1 and 2 and ONNX have clip(0.2 x + 0.5, 0, 1).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_sigmoid_keras2": lambda x: (0.2 * x + 0.5).clamp(0.0, 1.0),
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "linear": lambda x: x,
}
