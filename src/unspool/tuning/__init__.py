"""Settings searched for: trials side by side, pruned by their validation curves, and an honest end."""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module that holds it; loaded on first use.
_LAZY = {"tune": "unspool.tuning.searching", "Tuning": "unspool.tuning.result"}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'unspool.tuning' has no attribute {name!r}")
