"""unspool: recurrent networks on sequences of uneven length. One engine, any cell, no padding."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from typing import Any

__version__ = "0.1.0"

# Public name -> module that holds it; loaded on first use, so that `import unspool` stays quick.
_LAZY = {
    "Ragged": "unspool.ragged",
    "SequenceRegressor": "unspool.estimators",
    "SequenceClassifier": "unspool.estimators",
    "SequenceTagger": "unspool.tagging",
    "SequenceGenerator": "unspool.generation",
    "Forecaster": "unspool.forecasting",
    "Seq2Seq": "unspool.seq2seq",
    "load": "unspool.estimators",
    "tune": "unspool.tuning",
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
    "exporting",
    "forecasting",
    "generation",
    "heads",
    "importing",
    "mlflow",
    "nn",
    "parameters",
    "program",
    "saved",
    "seq2seq",
    "serve",
    "signals",
    "streaming",
    "study",
    "tagging",
    "tasks",
    "text",
    "training",
    "tuning",
)

__all__ = [*_LAZY, *_MODULES, "__version__"]


class _WithTorch(importlib.abc.MetaPathFinder):
    """Tells torch of our operators as soon as it is there, which may be later: loading it takes seconds."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                importlib.import_module("unspool.operators")

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "torch" in sys.modules:
    importlib.import_module("unspool.operators")
else:
    sys.meta_path.insert(0, _WithTorch())


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
