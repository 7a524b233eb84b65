"""The cases that fail and are known to: known.txt, a line each. One that passes must leave the list."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def listed() -> dict[str, str]:
    """Name -> reason. A line: the case's name, two spaces and a #, the reason."""
    found = {}
    path = Path(__file__).with_name("known.txt")
    for line in path.read_text().splitlines() if path.exists() else []:
        name, _, reason = line.partition("  # ")
        found[name.strip()] = reason or "not yet"
    return found


def known(name: str) -> str:
    """The reason why the case fails; empty: it should not."""
    return listed().get(name, "")
