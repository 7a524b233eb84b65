"""unspool: recurrent networks on sequences of uneven length. One engine, any cell, no padding."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module that holds it; loaded on first use, so that `import unspool` stays quick.
_LAZY = {
    "Ragged": "unspool.ragged",
    "SequenceRegressor": "unspool.estimators",
    "SequenceClassifier": "unspool.estimators",
    "load": "unspool.estimators",
    "explain_path": "unspool.engine",
}
_MODULES = (
    "cells",
    "encode",
    "engine",
    "errors",
    "estimators",
    "evaluation",
    "explain",
    "heads",
    "nn",
    "program",
    "saved",
    "study",
    "tasks",
    "text",
    "training",
)

__all__ = [*_LAZY, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"unspool.{name}")
    raise AttributeError(f"module 'unspool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
