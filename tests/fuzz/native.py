"""The compiled module: what the engine gives it, changed in one place. See `tests/boundary/test_native.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boundary.test_native import ENDLESS, ERRORS, changed, functions, record

REFUSED = ERRORS


def target(folder: Path) -> Callable[[random.Random], None]:
    recorded, known = record(), functions()
    names = sorted(name for name in recorded if name not in ENDLESS)

    def case(rng: random.Random) -> None:
        name = rng.choice(names)
        given, more = rng.choice(recorded[name])
        args, named = list(given), dict(more)
        first = 1 if "." in name else 0
        places: list[Any] = [*range(first, len(args)), *named]
        for at in rng.sample(places, min(len(places), rng.choice([1, 1, 2]))):
            holder: Any = named if isinstance(at, str) else args
            holder[at] = changed(holder[at], rng)
        known[name](*args, **named)

    return case
