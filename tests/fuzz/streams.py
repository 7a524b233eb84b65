"""Saved states of streams."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from unspool import SequenceRegressor

from .models import SERIES, TINY, Y
from .mutations import changed_bytes


def target(folder: Path) -> Callable[[random.Random], None]:
    model = SequenceRegressor(**TINY, bidirectional=False, pooling="last").fit(SERIES, Y[:6])
    stream = model.stream()
    stream.push(SERIES[0])
    data = stream.save()

    def case(rng: random.Random) -> None:
        found = changed_bytes(data, rng)
        digest = hashlib.sha256(found[:-32]).digest()
        # With a checksum that fits, wherever it stands.
        found = rng.choice([found, found[:-32] + digest, hashlib.sha256(found[32:]).digest() + found[32:]])
        other = model.stream().load(found)
        other.push(SERIES[1])

    return case
