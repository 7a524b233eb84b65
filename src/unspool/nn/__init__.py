"""Recurrent layers: any cell over time, in one direction or both, in stacks."""

from __future__ import annotations

from unspool.nn.recurrent import Recurrent, final_output
from unspool.nn.stack import Stack

__all__ = ["Recurrent", "Stack", "final_output"]
