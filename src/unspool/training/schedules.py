"""How the learning rate goes over a training: a factor for each step, from the share of the steps that are done."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant(done: float) -> float:
    """1 throughout."""
    return 1.0


def linear(done: float) -> float:
    """From 1 down to 0."""
    return 1.0 - done


def cosine(done: float) -> float:
    """½ (1 + cos π done), from 1 to 0 (Loshchilov, Hutter 2017, arXiv:1608.03983, eq. 5, one period)."""
    return 0.5 * (1 + math.cos(math.pi * done))


def one_cycle(done: float) -> float:
    """A cosine from 0.04 to 1 over the first 30 %, then one to 0 (Smith, Topin 2018, arXiv:1708.07120)."""
    if done < 0.3:
        return 1 - 0.96 * cosine(done / 0.3)
    return cosine((done - 0.3) / 0.7)


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


def factor(schedule: str, step: int, steps: int, warmup: int = 0) -> float:
    """What the learning rate is multiplied by at `step` (from 0) of `steps`.

    warmup: over so many first steps the factor rises from 1 / warmup to 1; the schedule has the steps after them.
    """
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[schedule](min(1.0, (step - warmup) / max(1, steps - warmup)))
