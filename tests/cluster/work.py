"""Functions that the tests call on the nodes of a cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

from unspool.errors import DataError


def threads(context, item):
    """(threads of torch, those of BLAS and OpenMP, what OMP_NUM_THREADS says, the process)."""
    pools = {pool["num_threads"] for pool in threadpool_info()}
    return torch.get_num_threads(), pools, os.environ["OMP_NUM_THREADS"], os.getpid()


def told(folder, item):
    """Leaves a file for each call in `folder`, takes as many seconds as the item says, and doubles it."""
    seconds, number = item
    Path(folder, f"{number}-{os.getpid()}").touch()
    time.sleep(seconds)
    return number * 2


def unpacked(context, item):
    """How often the context was unpacked in this process: it counts them itself."""
    time.sleep(0.3)  # so long that both nodes get some
    return os.getpid(), context.unpacked


class Counted:
    """Counts in each process how often it is unpickled."""

    times = 0

    def __setstate__(self, state):
        Counted.times += 1
        self.unpacked = Counted.times

    def __getstate__(self):
        return {"some": "state"}


def fails(context, item):
    raise DataError("Row 7 has no text.")


def leaves(folder, item):
    """As a training does that is told to end early with its node; in the second call it does not."""
    try:
        Path(folder, "called").touch(exist_ok=False)
    except FileExistsError:
        return "done"
    raise KeyboardInterrupt
