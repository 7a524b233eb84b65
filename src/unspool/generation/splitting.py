"""Which texts a generator validates on."""

from __future__ import annotations

from typing import Any

import numpy as np

from unspool.errors import DataError

Weights = np.ndarray | None


def held_apart(
    texts: list[str], weights: Weights, fraction: float, random: Any
) -> tuple[list[str], list[str], Weights, Weights]:
    """(training texts, validation texts, the weights of both): of one text its end, of several drawn ones; fraction 0:
    none. weights: (n,), or None. `DataError` for a text that is too short."""
    if fraction == 0:
        return texts, [], weights, None
    if len(texts) == 1:
        cut = len(texts[0]) - round(fraction * len(texts[0]))
        if not 0 < cut < len(texts[0]):
            raise DataError(
                f"A text of {len(texts[0])} characters is too short to hold back {fraction:.0%} of it. Give "
                "validation_data, or early_stopping=False."
            )
        return [texts[0][:cut]], [texts[0][cut:]], None, None
    count = max(1, round(fraction * len(texts)))
    held = np.zeros(len(texts), dtype=bool)
    held[random.permutation(len(texts))[:count]] = True
    parts = [[text for text, there in zip(texts, held) if there == which] for which in (False, True)]
    own = (None, None) if weights is None else (weights[~held], weights[held])
    return parts[0], parts[1], *own
