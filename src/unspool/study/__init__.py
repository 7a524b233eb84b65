"""Measures of a trained model, the baselines it must beat, arrangements compared, cells looked into, and plots."""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module that holds it; loaded on first use.
_LAZY = {
    "compare": "unspool.study.comparing",
    "Comparison": "unspool.study.comparison",
    "activations": "unspool.study.activity",
    "plot_activations": "unspool.study.activity",
    "gradient_flow": "unspool.study.gradients",
    "plot_gradient_flow": "unspool.study.gradients",
    "layer_input": "unspool.study.locate",
    "equations": "unspool.study.formulas",
    "diagram": "unspool.study.drawing",
    "plot_learning_curves": "unspool.study.curves",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'unspool.study' has no attribute {name!r}")
