"""Checkpoints in the middle of an epoch, of dense and sparse embeddings and of carried states."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unspool import SequenceGenerator, SequenceRegressor
from unspool.training import checkpoint_file
from unspool.training.checkpoint_file import HEAD, MAGIC

from .models import TEXTS, TINY, Y, changed_weights
from .mutations import HUGE, changed_bytes, changed_json


def target(folder: Path) -> Callable[[random.Random], None]:
    small = {**TINY, "embedding_dim": 4}
    fits: list[Callable[[Path], Any]] = [
        lambda at: SequenceRegressor(**small, blend=False, ensemble=2).fit(TEXTS, Y, **at),
        lambda at: SequenceRegressor(**small, blend=False, embedding_update="sparse").fit(TEXTS, Y, **at),
        lambda at: SequenceGenerator(**small, chunk_length=16).fit("the cat sat on the mat. " * 12, **at),
    ]
    kept = []
    for number, fit in enumerate(fits):
        path = folder / str(number)
        fit({"checkpoint": path, "checkpoint_every": 1})
        # The one before the last was written after a step, not after the epoch.
        kept.append((fit, checkpoint_file.before(path).read_bytes()[HEAD:]))
    work = folder / "work"

    def case(rng: random.Random) -> None:
        fit, data = rng.choice(kept)
        for place in (work, checkpoint_file.before(work), work.with_name("work.damaged")):
            place.unlink(missing_ok=True)
        length = int.from_bytes(data[:8], "little")
        kind = rng.random()
        if kind < 0.7:
            document = changed_json(json.loads(data[8 : 8 + length]), rng)
            text = json.dumps(document).replace(f'"{HUGE}"', "1e999").encode()
            data = len(text).to_bytes(8, "little") + text + data[8 + length :]
        elif kind < 0.85:
            data = data[: 8 + length] + changed_weights(data[8 + length :], rng)
        else:
            data = changed_bytes(data, rng)
        whole = MAGIC + hashlib.sha256(data).digest() + data
        work.write_bytes(whole if rng.random() < 0.95 else changed_bytes(whole, rng))
        fit({"checkpoint": work})

    return case
