"""The cases: every surrounding and every disturbance of every call alone, and a sample of both at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

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

__all__ = ["cases", "prepare", "verdict"]


def sample() -> list[Case]:
    """By a hash of their names: every surrounding alone of every call, once (tracers and compilers of some calls);
    every disturbance alone, of one call; one in 2500 of both at once. Every value of every axis occurs.
    """
    once: dict[tuple[str, ...], Case] = {}
    crossed = []
    for case in cases(crossed=2500, traced=4):
        if case.surrounding != "calm" and case.disturbance != "none":
            crossed.append(case)
            continue
        key = (case.subject, case.surrounding) if case.disturbance == "none" else (case.disturbance,)
        if key not in once or _place(case) < _place(once[key]):
            once[key] = case
    return [*once.values(), *crossed]


def _place(case: Case) -> int:
    return zlib.crc32(case.name.encode())


def cases(alone: int = 1, crossed: int = 1, traced: int = 1) -> Iterator[Case]:
    """One in `alone` of a disturbance alone, in `crossed` of both at once, in `traced` of a tracer or compiler.

    Which, is by a hash of their names. Every surrounding alone is there, but for tracers and compilers.
    """
    for subject in SUBJECTS:
        given = clean(subject, F, H)
        for surrounding in SURROUNDINGS:
            for disturbance in DISTURBANCES.values():
                for when in ("first", "later"):
                    calm, still = surrounding.name == "calm", disturbance.name == "none"
                    case = Case(subject.name, surrounding.name, disturbance.name, when)
                    if not disturbance.fits(given) or (calm and when == "later"):
                        continue
                    step = 1 if still else alone if calm else crossed
                    if still and when == "later":
                        step = min(alone, 2)
                    if surrounding.slow:
                        step *= traced
                    if _place(case) % step == 0:
                        yield case


def verdict(name: str) -> str:
    return judge(Case.of(name))
