"""The layers of a network as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def layers_text(title: str, layers: Sequence[tuple[str, int, int]], total: int) -> str:
    """`title`, then a line for each (name, output width, trainable numbers), and their total, in columns."""
    rows = [("layer", "width", "parameters")]
    rows += [(name, f"{width:,}", f"{count:,}") for name, width, count in layers]
    rows.append(("total", "", f"{total:,}"))
    a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
    return "\n".join([title, *(f"{name:<{a}}  {width:>{b}}  {count:>{c}}" for name, width, count in rows)])


def cell_name(cell: Any) -> str:
    """A cell's name in such a table: the registered one, or that of its class or function."""
    return cell if isinstance(cell, str) else getattr(cell, "__name__", type(cell).__name__)
