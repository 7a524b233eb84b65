"""Looking into a cell: its equations and diagram, its gates over a sequence, its gradients over time."""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module that holds it; loaded on first use.
_LAZY = {
    "activations": "unspool.explain.activity",
    "plot_activations": "unspool.explain.activity",
    "gradient_flow": "unspool.explain.gradients",
    "plot_gradient_flow": "unspool.explain.gradients",
    "layer_input": "unspool.explain.locate",
    "equations": "unspool.explain.formulas",
    "diagram": "unspool.explain.drawing",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'unspool.explain' has no attribute {name!r}")
