"""Arrangements of cell, pooling and layers compared; looking into cells under the names of `unspool.explain`."""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module that holds it; loaded on first use.
_LAZY = {
    "compare": "unspool.study.comparing",
    "Comparison": "unspool.study.comparison",
    "activations": "unspool.explain",
    "plot_activations": "unspool.explain",
    "gradient_flow": "unspool.explain",
    "plot_gradient_flow": "unspool.explain",
    "layer_input": "unspool.explain",
    "equations": "unspool.explain",
    "diagram": "unspool.explain",
    "plot_learning_curves": "unspool.evaluation.curves",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'unspool.study' has no attribute {name!r}")
