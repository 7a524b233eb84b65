from __future__ import annotations

from estimators.conftest import one_thread

__all__ = ["one_thread"]
