"""Places for the nodes of a data flow drawn from left to right (Sugiyama, Tagawa, Toda 1981).

A node stands one column right of the last thing it needs; the order within the columns follows the mean place of
the neighbours, as long as that takes crossings away; heights then move towards the neighbours' without touching.
An edge over several columns passes through a bend in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

SWEEPS = 60
BEND = 0.45  # height of a bend, of a node's
STRAIGHT = 4.0  # how much harder a bend pulls than a node


@dataclass
class Layout:
    """column and height by node; bends: by edge (from, to), the heights in the columns between."""

    column: dict[str, int]
    height: dict[str, float]
    bends: dict[tuple[str, str], list[float]]


def lay_out(needs: Mapping[str, Sequence[str]], last: Sequence[str] = ()) -> Layout:
    """needs: what each node has arrows from; nodes come after what they need. last: nodes for the last column.

    Heights are in units of a node's; the difference of two in one column is at least 1 (bends: less).
    """
    column: dict[str, int] = {}
    for node, before in needs.items():
        column[node] = 1 + max((column[b] for b in before), default=-1)
    end = max(column.values())
    if last:
        inner = max((c for node, c in column.items() if node not in last), default=0)
        end = inner + 1
        column |= dict.fromkeys(last, end)
    edges = [(b, node) for node, before in needs.items() for b in dict.fromkeys(before)]
    columns: list[list[str]] = [[n for n in needs if column[n] == c] for c in range(end + 1)]
    left: dict[str, list[str]] = {n: [] for n in needs}
    right: dict[str, list[str]] = {n: [] for n in needs}
    chains: dict[tuple[str, str], list[str]] = {}
    for a, b in edges:
        chain = [f"{a}→{b}@{c}" for c in range(column[a] + 1, column[b])]
        chains[a, b] = chain
        for c, bend in enumerate(chain, column[a] + 1):
            columns[c].append(bend)
        for one, next_ in pairwise([a, *chain, b]):
            right.setdefault(one, []).append(next_)
            left.setdefault(next_, []).append(one)
    bends = {bend for chain in chains.values() for bend in chain}
    columns = _order(columns, left, right)
    height = _heights(columns, left, right, bends)
    return Layout(
        column, {n: height[n] for n in needs}, {e: [height[b] for b in c] for e, c in chains.items()}
    )


def crossings(columns: Sequence[Sequence[str]], right: Mapping[str, Sequence[str]]) -> int:
    """Pairs of edges between neighbouring columns that cross."""
    count = 0
    for here, there in pairwise(columns):
        place = {node: k for k, node in enumerate(there)}
        ends = [place[n] for node in here for n in sorted(right.get(node, []), key=place.__getitem__)]
        count += sum(a > b for k, a in enumerate(ends) for b in ends[k + 1 :])
    return count


def _order(
    columns: list[list[str]], left: Mapping[str, list[str]], right: Mapping[str, list[str]]
) -> list[list[str]]:
    best, fewest = columns, crossings(columns, right)
    current = [list(c) for c in columns]
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        across = left if forward else right
        path = range(1, len(current)) if forward else range(len(current) - 2, -1, -1)
        for c in path:
            place = {node: k for k, node in enumerate(current[c - 1 if forward else c + 1])}
            own = {node: k for k, node in enumerate(current[c])}
            mean = {n: fmean(place[m] for m in across[n]) if across.get(n) else own[n] for n in current[c]}
            current[c].sort(key=lambda n: (mean[n], own[n]))
        now = crossings(current, right)
        if now < fewest:
            best, fewest = [list(c) for c in current], now
    return best


def _heights(
    columns: list[list[str]],
    left: Mapping[str, list[str]],
    right: Mapping[str, list[str]],
    bends: set[str],
) -> dict[str, float]:
    tallest = max(len(c) for c in columns)
    height = {n: k + (tallest - len(c)) / 2 for c in columns for k, n in enumerate(c)}
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            wish, weight = [], []
            for n in column:
                near = [*left.get(n, []), *right.get(n, [])]
                pull = [STRAIGHT ** ((n in bends) + (m in bends)) for m in near]
                weight.append(sum(pull) or 1.0)
                wish.append(
                    sum(p * height[m] for p, m in zip(pull, near)) / weight[-1] if near else height[n]
                )
            for n, y in zip(column, _apart(column, wish, weight, bends)):
                height[n] = y
    lowest = min(height.values())
    return {n: y - lowest for n, y in height.items()}


def _apart(
    column: Sequence[str], wish: Sequence[float], weight: Sequence[float], bends: set[str]
) -> list[float]:
    """The heights nearest to `wish` (weighted least squares) that keep the order and the gaps.

    Pooled adjacent violators, so that a sweep never makes the sum of the squared rises of all edges larger.
    """
    size = [BEND if n in bends else 1.0 for n in column]
    offset, total = [], 0.0
    for k in range(len(column)):
        total += (size[k - 1] + size[k]) / 2 if k else 0.0
        offset.append(total)
    blocks: list[tuple[float, float, int]] = []  # height less offset, weight, nodes
    for y, o, w in zip(wish, offset, weight):
        blocks.append((y - o, w, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, v, n), (b, w_b, m) = blocks[-2:]
            blocks[-2:] = [((a * v + b * w_b) / (v + w_b), v + w_b, n + m)]
    levels = [value for value, _, count in blocks for _ in range(count)]
    return [level + o for level, o in zip(levels, offset)]
