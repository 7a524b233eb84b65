"""The engine as operators of torch, `unspool::forward` and `unspool::backward`, for graphs: compiled, exported, faked.

A call is named by a text (`engine.operators`), which says the same in every process: a model saved by
`torch.export.save` runs wherever `unspool` is imported. This file only tells torch of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("unspool", "DEF")
_BATCH = "Tensor values, Tensor offsets, Tensor? index"
_LIBRARY.define(f"forward(str call, str live, {_BATCH}, Tensor[] tensors) -> Tensor[]")
_LIBRARY.define(
    f"backward(str call, bool[] needs, Tensor[] kept, {_BATCH}, Tensor output, Tensor[] tensors, "
    "Tensor? dy, Tensor?[] d_finals) -> Tensor[]"
)


def _later(name: str) -> Callable[..., Any]:
    """A function of `unspool.engine.operators`, which is imported at its first call."""

    def run(*args: Any) -> Any:
        return getattr(importlib.import_module("unspool.engine.operators"), name)(*args)

    return run


_LIBRARY.impl("forward", _later("forward"), "CPU")
_LIBRARY.impl("backward", _later("backward"), "CPU")
for kept in ("MkldnnCPU", "QuantizedCPU"):  # of which compilers' fake tensors say that they are dense
    _LIBRARY.impl("forward", _later("not_dense"), kept)
torch.library.register_fake("unspool::forward", _later("forward_shapes"), lib=_LIBRARY)
torch.library.register_fake("unspool::backward", _later("backward_shapes"), lib=_LIBRARY)
torch.library.register_autograd(
    "unspool::forward",
    _later("gradient"),
    setup_context=lambda ctx, inputs, output: _later("setup")(ctx, inputs, output),
    lib=_LIBRARY,
)
