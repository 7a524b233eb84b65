"""How spans are written as tags: which scheme a set of tags is in, which tag may follow which, tags made legal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from unspool.errors import DataError
from unspool.evaluation.spans import OUTSIDE, Span, parts, spans

SCHEMES = ("BIO", "IOBES")


def scheme_of(tags: Iterable[str]) -> str | None:
    """ "IOBES" where some tag has E- or S-, "BIO" where all are O, B- and I- with a B- or I- among them; None: the
    tags are of no spans."""
    prefixes = set()
    for tag in set(tags):
        try:
            prefixes.add(parts(tag)[0])
        except DataError:
            return None
    if prefixes & {"E", "S"}:
        return "IOBES"
    return "BIO" if prefixes & {"B", "I"} else None


def legal(tags: Sequence[str], scheme: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K, K) whether a tag may follow another, at [before, after]; (K,) whether it may be first, and last."""
    split = [parts(tag) for tag in tags]
    follows = np.array([[_may_follow(a, b, scheme) for b in split] for a in split])
    outside = (OUTSIDE, "")
    first = np.array([_may_follow(outside, b, scheme) for b in split])
    last = np.array([_may_follow(a, outside, scheme) for a in split])
    return follows, first, last


def _may_follow(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    within = before[0] in "BI" if scheme == "IOBES" else False
    goes_on = after[0] in "IE" if scheme == "IOBES" else after[0] == "I"
    if within or goes_on:
        return goes_on and before[0] in "BI" and before[1] == after[1]
    return True


def written(found: Sequence[Span], length: int, scheme: str) -> list[str]:
    """Spans that do not overlap, as `length` tags."""
    tags = [OUTSIDE] * length
    for label, start, end in found:
        end_of = f"-{label}" if label else ""
        tags[start:end] = [f"I{end_of}"] * (end - start)
        tags[start] = f"B{end_of}"
        if scheme == "IOBES":
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}{end_of}"
    return tags


def mended(tags: Sequence[str], scheme: str) -> list[str]:
    """The tags in `scheme`, of the spans that conlleval counts in them."""
    return written(spans(tags), len(tags), scheme)
