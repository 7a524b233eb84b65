"""Which of several processes of one job this is, as torchrun tells it."""

from __future__ import annotations

import os

from unspool.errors import UnspoolError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class ParallelError(UnspoolError, RuntimeError):
    """A rank cannot be reached, or the ranks do not fit together."""


def under_torchrun() -> tuple[int, int]:
    """(rank, number of ranks) that the environment names; (0, 1) where it names none.

    Raises `ParallelError` where these are no numbers.
    """
    if any(name not in os.environ for name in VARIABLES):
        return 0, 1
    try:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        raise ParallelError(
            "RANK and WORLD_SIZE must be numbers, as torchrun sets them. "
            f"Got {os.environ['RANK']!r} and {os.environ['WORLD_SIZE']!r}."
        ) from None
