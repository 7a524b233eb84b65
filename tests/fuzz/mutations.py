"""Bytes and JSON values changed in a few places."""

from __future__ import annotations

import copy
import random
from typing import Any

HUGE = "@1e999@"  # stands for the number 1e999, which JSON has and floats do not
STRINGS = ["", "x", "\ud800", "\x00", "é" * 50, "a" * 5000, "cell", "int64", "F32", "../../etc/passwd", HUGE]
NUMBERS = [0, 1, -1, 2, 7, 255, 2**31, -(2**31), 2**53 + 1, 2**63, 10**30, 10**400, 0.5, -0.5, 1e308, 1e-320]
OTHERS = [None, True, False, [], {}, [[]], [None], {"": 0}, [0] * 300]


def junk(rng: random.Random) -> Any:
    """A JSON value."""
    return copy.deepcopy(rng.choice(rng.choice([STRINGS, NUMBERS, OTHERS])))


def places(value: Any, most: int = 5000) -> list[tuple[Any, Any]]:
    """(container, key) of what is in `value`."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < most:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def changed_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON object with one to three things in it that are not as they were."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        known = places(value)
        if not known:
            return junk(rng)
        # Places near the top as often as the many in long lists.
        node, key = rng.choice(known[:40] if rng.random() < 0.4 else known)
        kind = rng.random()
        if kind < 0.5:
            node[key] = junk(rng)
        elif kind < 0.6:
            other, place = rng.choice(known)
            node[key] = copy.deepcopy(other[place]) if _there(other, place) else None
        elif kind < 0.7:
            del node[key]
        elif kind < 0.8 and isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
            node[key] = rng.choice(
                [
                    node[key] + 1,
                    node[key] - 1,
                    -node[key],
                    node[key] * 1000,
                    node[key] + 0.5 if abs(node[key]) < 1e9 else 0.5,
                ]
            )
        elif kind < 0.9 and isinstance(node, list):
            node.insert(key, copy.deepcopy(node[rng.randrange(len(node))]))
        elif isinstance(node, dict):
            node[str(junk(rng))] = node.pop(key)
        else:
            rng.shuffle(node)
    return value


def _there(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else key < len(node)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """`data` with bytes flipped, cut, repeated, or replaced by numbers that a reader may take for lengths."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(changed) + 1)
        kind = rng.random()
        if kind < 0.35 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif kind < 0.5:
            changed[at : at + rng.choice([1, 4, 8])] = rng.choice(
                [b"\xff" * 8, b"\x00" * 8, b"\x7f" * 4, b"\x80"]
            )
        elif kind < 0.6:
            del changed[at:]
        elif kind < 0.75:
            del changed[at : at + rng.choice([1, 2, 8, 100])]
        elif kind < 0.9:
            start = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + rng.choice([1, 8, 64, 1000])]
        else:
            changed[at:at] = rng.choice(
                [b'"', b"\n", b",", b" ", b"9" * 5000, b"-", b"nan", b"\xc3", b"\x1f\x8b", b"{"]
            )
    return bytes(changed)
