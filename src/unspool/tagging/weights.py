"""Weights of tokens by their tags."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError
from unspool.tagging.reading import Tags


def weights_of(class_weight: Any, classes: np.ndarray, tags: Tags) -> Tensor | None:
    """(K,) float32, one for each of `classes`, of mean 1 over the tokens; None for None. `DataError` for a tag that
    training has not."""
    if class_weight is None:
        return None
    from sklearn.utils.class_weight import compute_class_weight

    known = np.array([tag for row in tags for tag in row if tag is not None])
    if isinstance(class_weight, dict) and (strange := [t for t in class_weight if t not in classes.tolist()]):
        raise DataError(
            f"class_weight has a tag that training has not: {strange[0]!r}. It has {', '.join(classes.tolist()[:10])}."
        )
    found = compute_class_weight(class_weight, classes=classes, y=known)
    return torch.from_numpy((found / found[np.searchsorted(classes, known)].mean()).astype(np.float32))
