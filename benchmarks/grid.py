"""The cases of the benchmark of layers, and the parts of them that are worth minutes."""

from __future__ import annotations

from collections.abc import Iterable

from unspool.bench import SHAPES, WORKS, Case

GRID = ("rnn", "gru", "lstm", "layer_norm_lstm", "peephole_lstm")

HIDDEN = (32, 64, 128, 256, 512)
BATCH = (1, 8, 32, 256)
ONE_DENSE, BOTH_RAGGED = ("dense", 1), ("ragged", 2)  # shape, directions


def cases(
    cells: Iterable[str],
    hidden: Iterable[int],
    forms: Iterable[tuple[str, int]],
    works: Iterable[str],
    batch: Iterable[int],
) -> list[Case]:
    """Every combination; forms: pairs (shape, directions)."""
    return [
        Case(cell, width, shape, directions, work, size)
        for cell in cells
        for width in hidden
        for shape, directions in forms
        for work in works
        for size in batch
    ]


def informative() -> list[Case]:
    """Every cell and width on dense sequences one way and ragged ones both ways; other batches and forms of a few."""
    few, forms = (64, 256), (ONE_DENSE, BOTH_RAGGED)
    return [
        *cases(GRID, HIDDEN, forms, WORKS, [32]),
        *cases(["lstm"], few, forms, WORKS, [1, 8, 256]),
        *cases(["lstm", "gru"], few, [("dense", 2), ("ragged", 1)], WORKS, [32]),
    ]


def quick() -> list[Case]:
    """Training in both forms and the dense forward, two widths."""
    return [
        *cases(GRID, (64, 256), (ONE_DENSE, BOTH_RAGGED), ["training"], [32]),
        *cases(GRID, (64, 256), [ONE_DENSE], ["forward"], [32]),
    ]


def whole() -> list[Case]:
    """All 800 cases: hours."""
    return cases(GRID, HIDDEN, [(s, d) for s in SHAPES for d in (1, 2)], WORKS, BATCH)
