"""The error of each function in units of the last place, on the instruction set of this process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .test_ops import OnInput, apply

SOURCE = Path(__file__).parents[2] / "native" / "functions.h"
STRIDE = 16411  # every so many floats: a prime, so that all low bits occur
TINY = torch.finfo(torch.float32).tiny


def stated() -> dict[str, tuple[float, float, float]]:
    """(lowest, highest, largest error) by function, as they stand in native/functions.h."""
    lines = re.findall(r"^// accuracy (\w+): \[(\S+), (\S+)\] (\S+) ULP$", SOURCE.read_text(), re.MULTILINE)
    return {name: (float(low), float(high), float(ulp)) for name, low, high, ulp in lines}


def floats(low: float, high: float) -> Tensor:
    """Numbers from low to high, evenly over bit patterns, and the neighbourhoods of small whole numbers."""

    def positive(top: float) -> np.ndarray:
        end = int(np.float32(max(top, 0.0)).view(np.int32))
        first = int(np.float32(TINY).view(np.int32))
        return np.arange(first, max(end, first), STRIDE, dtype=np.int32).view(np.float32)

    whole = np.repeat(np.arange(-20, 21, dtype=np.float32), 201)
    around = whole * (1 + np.tile(np.arange(-100, 101), 41).astype(np.float32) * np.float32(2e-7))
    both = np.concatenate([positive(high), -positive(-low), around, [np.float32(low), np.float32(high)]])
    return torch.from_numpy(both[(both >= np.float32(low)) & (both <= np.float32(high))])


def worst(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The largest error over results that are normal numbers."""
    padded = F.pad(x, (0, -len(x) % 96), value=float(x[0]))
    got = apply(OnInput, function, [padded.reshape(-1, 96)]).reshape(-1)[: len(x)].double().numpy()
    exact = function(x.double()).numpy()
    normal = (np.abs(exact) >= TINY) & (np.abs(exact) <= torch.finfo(torch.float32).max)
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return float((np.abs(got - exact) / spacing)[normal].max())


def measured() -> dict[str, float]:
    """The largest error by function."""
    found = {}
    with torch.no_grad():
        for name, (low, high, _) in stated().items():
            function = getattr(torch, name, None) or getattr(F, name)
            found[name] = worst(function, floats(low, high))
    return found
