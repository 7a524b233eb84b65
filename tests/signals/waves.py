"""Sounds by formula, the same on every machine."""

from __future__ import annotations

import numpy as np


def chirp(rate: int, seconds: float = 0.1) -> np.ndarray:
    """(n,): a falling rise in pitch, and a little of what sounds like noise."""
    n = np.arange(round(rate * seconds))
    t = n / rate
    hiss = np.modf(np.sin(12.9898 * n) * 43758.5453)[0]
    return 0.5 * np.sin(2 * np.pi * (200 * t + 9000 * t**2)) * np.exp(-30 * t) + 1e-3 * hiss
