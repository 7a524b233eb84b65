"""The cases: every call in every surrounding with every disturbance, and two smaller walks through them."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import Any

import torch._dynamo
import torch._dynamo.backends.debugging
import torch.export
import torch.fx.experimental.symbolic_shapes  # noqa: F401  what tracers import at their first use

from .disturbances import DISTURBANCES
from .given import Case, clean
from .subjects import ALL as SUBJECTS
from .subjects import F, H
from .surroundings import ALL as SURROUNDINGS
from .verdict import judge, prepare

__all__ = ["cases", "pairs", "prepare", "sample", "verdict"]

AXES = ("subject", "surrounding", "disturbance", "when")
SLOW = {surrounding.name for surrounding in SURROUNDINGS if surrounding.slow}


def sample() -> list[Case]:
    """By a hash of their names: every surrounding alone of about half of the calls (tracers and compilers of some);
    every disturbance alone, of one call; one in 2500 of both at once. Every value of every axis occurs.
    """
    once: dict[tuple[str, ...], Case] = {}
    crossed = []
    for case in cases():
        slow = 7 if case.surrounding in SLOW else 1
        both = case.surrounding != "calm" and case.disturbance != "none"
        if _place(case) % (2500 * slow if both else max(4, slow) if case.disturbance == "none" else 1):
            continue
        if both:
            crossed.append(case)
            continue
        key = (case.subject, case.surrounding) if case.disturbance == "none" else (case.disturbance,)
        if key not in once or _place(case) < _place(once[key]):
            once[key] = case
    return [*once.values(), *crossed]


def pairs() -> list[Case]:
    """Every two values of any two axes together once or more: of the cases that have both, the first by a hash.

    Tracers and compilers last.
    """
    first: dict[tuple[Any, ...], tuple[int, Case]] = {}
    axes = list(itertools.combinations(range(len(AXES)), 2))
    for case in cases():
        place, values = _place(case), [getattr(case, axis) for axis in AXES]
        for one, other in axes:
            key = (one, values[one], other, values[other])
            if key not in first or place < first[key][0]:
                first[key] = place, case
    found = dict.fromkeys(case for _, case in first.values())
    return sorted(found, key=lambda case: (case.surrounding in SLOW, _place(case)))


def _place(case: Case) -> int:
    return zlib.crc32(case.name.encode())


def cases() -> Iterator[Case]:
    """The whole product."""
    for subject in SUBJECTS:
        given = clean(subject, F, H)
        for surrounding in SURROUNDINGS:
            for disturbance in DISTURBANCES.values():
                for when in ("first", "later"):
                    fits = disturbance.fits(given, surrounding.reads)
                    if fits and (surrounding.name, when) != ("calm", "later"):
                        yield Case(subject.name, surrounding.name, disturbance.name, when)


def verdict(name: str) -> str:
    return judge(Case.of(name))
