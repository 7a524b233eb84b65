"""Pairs of texts as they are given, and which of them a model validates on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unspool.errors import DataError
from unspool.generation.vocabulary import read_texts

OWNER = "Seq2Seq"


def read_list(texts: Any, what: str) -> list[str]:
    """A list of texts, named `what` in errors; `DataError` for anything else."""
    if isinstance(texts, str):
        raise DataError(f"{what} must be a list of texts. Got one text; put it in a list.")
    return read_texts(OWNER, texts, what)


def read_pairs(X: Any, y: Any) -> tuple[list[str], list[str]]:
    """Sources and targets, as many of each; `DataError` for anything else."""
    sources, targets = read_list(X, "X"), read_list(y, "y")
    if len(sources) != len(targets):
        raise DataError(f"X and y must have a target for each source. Got {len(sources)} and {len(targets)}.")
    if not sources:
        raise DataError("At least one pair of texts is needed. Got none.")
    return sources, targets


def held_back(sources: Sequence[str], fraction: float, random: np.random.RandomState) -> np.ndarray:
    """(n,) bool: the validation rows. A source that stands in several rows has all of them in one part."""
    distinct, number = np.unique(np.array(sources, dtype=object), return_inverse=True)
    count = max(1, round(fraction * len(distinct)))
    if len(distinct) < 2 or count >= len(distinct):
        raise DataError(
            f"Of {len(distinct)} distinct sources none can be held back to validate on. Give more pairs, "
            "validation_data, or early_stopping=False."
        )
    chosen = np.zeros(len(distinct), dtype=bool)
    chosen[random.permutation(len(distinct))[:count]] = True
    return chosen[number]
