"""A number for each cell, by which torch.compile's graphs know it (`compiled.py`, which is slow to import)."""

from __future__ import annotations

import itertools
import weakref

from torch import nn

_numbers = itertools.count()
CELLS: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()


def register(*cells: nn.Module) -> None:
    """Give each cell its number."""
    for cell in cells:
        cell.__dict__["_unspool_number"] = next(_numbers)
        CELLS[cell.__dict__["_unspool_number"]] = cell
