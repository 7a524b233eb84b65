"""The engine: from a cell to a program, its gradient, and the native run over ragged batches."""

from __future__ import annotations

from unspool.engine.dispatch import explain_path

__all__ = ["explain_path"]
