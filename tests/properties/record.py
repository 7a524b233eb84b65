"""What every cell makes of two fixed batches, to a file: `python -m properties.record FILE`, in tests/."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch

from unspool import _native

from .cases import batch_of, fixed_cases, layer_of, results
from .user_cells import CELLS


@functools.cache
def record() -> dict[Any, dict[str, torch.Tensor]]:
    """All values and gradients, by cell and case."""
    found = {}
    for name in CELLS:
        for k, case in enumerate(fixed_cases(2)):
            layer = layer_of(name, case, ("both", "reverse")[k])
            found[name, k] = results(layer, batch_of(layer, case)).all()
    return found


if __name__ == "__main__":
    torch.save({**record(), "isa": _native.isa()}, sys.argv[1])
